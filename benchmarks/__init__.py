"""Measurements that are run by hand, by subject; what they found is in docs/results.

Runs on the command line.
"""
