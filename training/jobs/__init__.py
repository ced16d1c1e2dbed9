"""A job: its folder, its ticket, its exports and where they are published.

Standard library alone.
"""
