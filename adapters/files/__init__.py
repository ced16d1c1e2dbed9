"""Files of adapters, motion modules and checkpoints: read, written, named, refused.

Runs anywhere with torch.
"""
