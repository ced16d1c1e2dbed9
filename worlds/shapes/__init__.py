"""The shapes world: names and places of its files, its latents and words. Runs with torch."""
