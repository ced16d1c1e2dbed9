"""The emoji world: names and places of its files, its words, its VAE's layout.

Runs anywhere with torch.
"""
