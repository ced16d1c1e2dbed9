"""What nodes share: sockets, folders, notices, this ComfyUI's jobs.

Runs in ComfyUI.
"""
