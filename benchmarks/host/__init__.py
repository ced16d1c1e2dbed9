"""What the pack costs inside ComfyUI."""
