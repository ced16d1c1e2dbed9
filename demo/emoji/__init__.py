"""How the emoji world is made: pictures and clips from the packages that publish them, networks
trained on them, and what is measured.

Runs on the command line.
"""
