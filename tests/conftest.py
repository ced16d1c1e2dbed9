"""Loads the pack by path under one name, as ComfyUI does, and finds what tests may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from helpers.pack import load_pack

os.environ["HF_HUB_OFFLINE"] = "1"
# The same cases everywhere, so that what passed passes again; HYPOTHESIS_PROFILE=explore draws new
# ones, to look for what nobody thought of.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

load_pack()


@pytest.fixture
def shared_data() -> Path:
    """Real photos and clips; only beside a developer's checkout and in CI."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real photos and clips are not beside this checkout ({SHARED_DATA.name}/)")
    return SHARED_DATA
