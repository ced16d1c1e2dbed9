"""What everything may use: the error that a person can mend, whole files or none, processes.

Standard library alone.
"""
