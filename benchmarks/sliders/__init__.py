"""What each setting of the sliders does.

Runs on the command line.
"""
