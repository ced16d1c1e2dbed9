"""Folders of photos and clips to latents and embeddings, once, before a training run."""
