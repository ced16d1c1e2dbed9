"""The jobs of a root folder, one at a time.

Standard library alone.
"""
