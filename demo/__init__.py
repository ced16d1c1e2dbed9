"""The shapes world: a tiny text-to-video world to try, test and measure everything on.

Runs on the command line.
"""
