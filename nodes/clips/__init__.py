"""Nodes that measure, freeze and invert clips."""
