"""What the pack costs inside ComfyUI.

Runs on the command line.
"""
