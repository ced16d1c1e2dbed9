"""What everything may use: errors that a person can mend, files, names, output, processes.

Standard library alone.
"""
