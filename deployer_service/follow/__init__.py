"""Follows the rule service: connects, says what is on disk, takes updates to the pipeline and reports outcomes.

Knows the pipeline and the stream's messages; opens no sockets (`adapters.upstream` does) and touches no files.
"""
