"""Python reads this when it starts with this folder on PYTHONPATH, as children on the card do.

It puts the card in before anything of the child can import torch.
"""

import importlib
import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parents[3])

sys.path.insert(0, _TESTS)
try:
    importlib.import_module("helpers.card").put_in()
finally:
    sys.path.remove(_TESTS)
