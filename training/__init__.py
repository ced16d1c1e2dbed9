"""The trainer. ComfyUI's process steers jobs; a worker of its own trains."""
