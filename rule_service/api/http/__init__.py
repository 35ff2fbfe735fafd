"""The same RPCs as JSON over HTTP, from the google.api.http annotations of the protos: no handler is written by hand.

Each request is turned into the RPC's message and sent through the gRPC server, so that what holds there (checks,
limits, logging, metrics) holds here.
"""
