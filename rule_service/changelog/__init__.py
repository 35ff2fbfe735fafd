"""The log of changed files: read after a position, wake who waits for it, prune it.

It is appended to in the transaction of the edit (`store/history.py`). A wake-up is a hint; the truth is what is read.
"""
