"""A job: its folder, ticket, phase, and exports, and where these are published.

Standard library alone.
"""
