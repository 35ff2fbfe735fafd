"""The public face: decode, call a use case, encode. Knows the protos and the use cases, never the store."""
