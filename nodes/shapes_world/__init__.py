"""The shapes world as ComfyUI's own MODEL, CLIP, VAE and CONTROL_NET: core nodes take it.

Runs in ComfyUI.
"""
