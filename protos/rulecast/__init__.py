"""What the rule service and the deployer agree on. Imports neither of them."""
