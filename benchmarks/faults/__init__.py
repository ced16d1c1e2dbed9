"""Jobs under kills, and routes under malformed requests.

Runs on the command line.
"""
