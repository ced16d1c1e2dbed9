"""What to train, as data.

Standard library alone.
"""
