"""A job from its folder to its export.

Runs in the worker.
"""
