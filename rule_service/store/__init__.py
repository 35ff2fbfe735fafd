"""PostgreSQL: one module for each noun, with the SQL beside the function that runs it.

Implements the Protocols of `usecases/ports.py`. No decision of the domain is made here: rows become values and values
become rows. `unit_of_work` holds the revision, which is the commit lock.
"""
