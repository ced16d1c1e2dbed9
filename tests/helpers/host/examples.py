"""The example workflows: where they are, and what their nodes are called in both forms."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "workflows"
API = FOLDER / "api"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TRAINING = "train_adapters"  # gives its clip only after Train was pressed: tour.py does that
ONE_PRESS = "customize"  # so does this one, after a single press: convert.py does that


def ui_form(name: str) -> dict:
    """As the editor opens it."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def api_form(name: str) -> dict:
    """As /prompt runs it."""
    return json.loads((API / f"{name}.json").read_text(encoding="utf-8"))


def picture(name: str) -> Path:
    """What the Templates browser shows of it."""
    return FOLDER / f"{name}.jpg"
