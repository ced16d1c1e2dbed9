"""The node that loads a world.

Runs in ComfyUI.
"""
