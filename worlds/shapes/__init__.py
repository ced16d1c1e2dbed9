"""The shapes world: names and places of its files, its latents and words.

Runs anywhere with torch.
"""
