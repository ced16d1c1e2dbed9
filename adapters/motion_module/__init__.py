"""AnimateDiff's temporal layers: recognising their files, and running them in ComfyUI."""
