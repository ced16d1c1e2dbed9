"""Who learns a motion from a clip or a few.

Runs on the command line.
"""
