"""Tiny models whose truth is known, and their files."""
