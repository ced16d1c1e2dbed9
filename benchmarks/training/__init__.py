"""Seconds and memory of training, and of a press of Train.

Runs on the command line.
"""
