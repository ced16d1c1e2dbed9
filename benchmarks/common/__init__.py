"""What benchmarks share: parts that go on where they stopped, rows, the page of results.

Runs on the command line.
"""
