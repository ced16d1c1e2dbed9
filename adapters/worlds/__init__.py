"""The pack's worlds as ComfyUI's own MODEL, CLIP, VAE and CONTROL_NET: core nodes take them.

Runs in ComfyUI.
"""
