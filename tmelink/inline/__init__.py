"""What stands on a connection between two ports, and works without privilege: impairments, captures, filters.

A port hands what it sends to a chain of stages (`chain`), and the last one to the element at the other end.
A connection without stages does not know of them.
"""
