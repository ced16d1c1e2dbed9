"""What only a machine with an NVIDIA card can tell, in the few minutes that there may be one.

Runs on the command line.
"""
