"""The trainer: ComfyUI's process steers jobs, and a process of its own trains each.

Standard library alone.
"""
