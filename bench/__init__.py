"""Benchmarks: `python -m bench` (root) puts tmelink beside other tunnels on this machine, in one run.

Knows the other programs and how to measure; tmelink is started as a user starts it, by its command line.
"""
