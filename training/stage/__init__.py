"""One stage of a recipe, step by step.

Runs in the worker.
"""
