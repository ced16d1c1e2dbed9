"""Pictures, clips and captions become cached latents and embeddings."""
