"""Other people's packs beside ours, from their checkouts beside ComfyUI's."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NamedTuple

PLACE = Path(os.environ.get("COMFYUI_PACKS_PATH") or Path.home() / "comfy")
PACKAGES = PLACE / "packages"  # what they import besides, from `pip install --target`


class Pack(NamedTuple):
    """A pack: the folder of its checkout, and what it imports that ComfyUI does not bring."""

    folder: str
    imports: tuple[str, ...] = ()


PACKS = {
    "AnimateDiff-Evolved": Pack("ComfyUI-AnimateDiff-Evolved"),
    "Advanced-ControlNet": Pack("ComfyUI-Advanced-ControlNet"),
    "IPAdapter Plus": Pack("ComfyUI_IPAdapter_plus"),
    "VideoHelperSuite": Pack("ComfyUI-VideoHelperSuite", ("cv2", "imageio_ffmpeg")),
    "KJNodes": Pack("ComfyUI-KJNodes"),
    "FizzNodes": Pack("ComfyUI_FizzNodes", ("numexpr", "pandas")),
}


def why_not(name: str) -> str:
    """The reason why a pack cannot be loaded here; empty when it can."""
    pack = PACKS[name]
    if not (PLACE / pack.folder / "__init__.py").is_file():
        return f"no {name} found: clone it into {PLACE}"
    missing = [package for package in pack.imports if not _is_there(package)]
    if missing:
        return f"{name} imports {', '.join(missing)}: pip install --target {PACKAGES}"
    return ""


def _is_there(package: str) -> bool:
    return (PACKAGES / package).is_dir() or importlib.util.find_spec(package) is not None


def folders() -> list[Path]:
    """The checkouts of all that can be loaded here."""
    return [PLACE / pack.folder for name, pack in PACKS.items() if not why_not(name)]


def import_path() -> str:
    """A PYTHONPATH with what they import."""
    paths = [str(PACKAGES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(path for path in paths if path)


def import_here() -> None:
    """The same, for this process."""
    if str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
