"""How both services speak gRPC: errors and status, interceptors, the server and the channel.

Knows `rulecast.errors` and grpc; no service, no store, no business.
"""
