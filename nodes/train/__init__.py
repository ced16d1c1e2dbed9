"""The nodes with a Train button: they start jobs, and the worker does the rest.

Runs in ComfyUI.
"""
