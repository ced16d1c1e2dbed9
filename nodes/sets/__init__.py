"""Nodes that make training sets.

Runs in ComfyUI.
"""
