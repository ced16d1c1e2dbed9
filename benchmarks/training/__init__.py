"""Seconds and memory of training, and of a press of Train."""
