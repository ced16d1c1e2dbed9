"""Nodes that make training sets."""
