"""Whether this Windows is Wine, which lacks some of what Windows has."""

import ctypes
import os

UNDER_WINE = os.name == "nt" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
