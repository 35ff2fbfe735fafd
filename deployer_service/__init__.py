"""The deployer: sits beside one Prometheus, writes validated rule files, reloads, verifies and reports."""
