"""Pictures, clips and captions become cached latents and embeddings.

Runs anywhere with torch; ComfyUI only where one is given.
"""
