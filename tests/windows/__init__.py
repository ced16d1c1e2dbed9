"""The pack on Windows' own Python, under Wine: ``make test-windows`` (tests/run_windows.py)."""
