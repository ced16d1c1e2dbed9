"""Measurements that are run by hand, by subject; what they found is in docs/results.md.

Runs on the command line.
"""
