"""How motion modules and adapters live in a ComfyUI MODEL.

Runs in ComfyUI.
"""
