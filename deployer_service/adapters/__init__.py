"""The ports of the pipeline on real parts: disk, promtool, Prometheus. No decision about a batch is made here."""
