"""The background trainer: recipes, job folders and the worker. Importing it imports nothing."""
