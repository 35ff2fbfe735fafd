"""How fast Rulecast is, beside what PostgreSQL, promtool and Prometheus need by themselves. Not part of the tests."""
