"""Low-rank maths, file formats and key names, free of ComfyUI; and their binding to it."""
