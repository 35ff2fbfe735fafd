"""The stream to the deployers: one shared manifest for each replica, one session for each deployer.

Knows the use cases' ports and the stream's messages; asks the database nothing but what these ports say. What is to
be sent is decided by pure functions (`difference`, `standing`); `hub` and `session` act on it.
"""
