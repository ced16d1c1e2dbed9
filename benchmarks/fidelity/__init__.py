"""Who is true to a customization and still moves.

Runs on the command line.
"""
