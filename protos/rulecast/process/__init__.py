"""How both services run as a process: settings, supervision and signals, logs, telemetry, backoff.

Knows the operating system and nothing of rules or gRPC.
"""
