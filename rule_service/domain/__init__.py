"""The rule model: which rule applies to a series, what it is configured with, and the bytes it becomes.

Pure: no async, no I/O, no clock, no randomness. Everything here can be called twice with the same result.
"""
