"""Tiny models whose truth is known, and their files.

Runs anywhere with torch.
"""
