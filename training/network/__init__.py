"""The network that is trained, diffusers' UNetMotionModel, with adapters on it.

Runs in the worker.
"""
