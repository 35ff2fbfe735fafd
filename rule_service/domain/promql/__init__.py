"""PromQL as text: tokens, vector selectors, scoping, checks.

Everything here reads the text once, from left to right, without recursion, and edits it only by inserting and
removing spans: the author's layout and comments stay. No tree is built and none is written back. No I/O.
"""
