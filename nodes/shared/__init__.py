"""What nodes share: sockets, folders, notices, this ComfyUI's jobs."""
