"""Where training keeps its files: below ComfyUI's user folder, shared by all workflows."""

from __future__ import annotations

from pathlib import Path

import folder_paths

NAME = "still_moving"


def root() -> Path:
    """jobs/, sets/, pictures/ and weights/ are below it."""
    return Path(folder_paths.get_user_directory()) / NAME


def sets() -> Path:
    return root() / "sets"


def weights() -> Path:
    return root() / "weights"


def pictures() -> Path:
    return root() / "pictures"
