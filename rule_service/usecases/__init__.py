"""The verbs: edit, publish, explain, record outcomes.

Domain plus ports. What it needs from outside is a Protocol in `ports.py`; it knows no SQL, no gRPC and no process.
"""
