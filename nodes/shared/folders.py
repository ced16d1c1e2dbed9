"""Where files come from: ComfyUI's model folders, and the shapes world's files in the pack."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import folder_paths

from ...common.errors import UserError
from ...worlds.shapes import files

MOTION_MODULES = "animatediff_models"  # names shared with other AnimateDiff packs
MOTION_ADAPTERS = "animatediff_motion_lora"
SPATIAL_ADAPTERS = "still_moving_adapters"
MOTION_WEIGHTS = "still_moving_motion_weights"
EMBEDDINGS = "embeddings"
CHECKPOINTS = "checkpoints"
LORAS = "loras"

OURS = (MOTION_MODULES, MOTION_ADAPTERS, SPATIAL_ADAPTERS, MOTION_WEIGHTS)
DEMO = "demo: "  # before the names of the shapes world's files
DEMO_FILES = {
    MOTION_MODULES: (files.MOTION_MODULE,),
    MOTION_ADAPTERS: (files.MOTION_ADAPTER, files.MOTION_LORA),
    SPATIAL_ADAPTERS: (files.SPATIAL_ADAPTER,),
    MOTION_WEIGHTS: (files.VMC, files.NEWMOVE),
    CHECKPOINTS: (files.CUSTOMIZED, files.BASE),
}


def register() -> None:
    """Add our folders to ComfyUI's list, beside those that another pack or a user set up."""
    for name in OURS:
        folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))
        # A new name starts with no extensions, which would list every file.
        folder_paths.folder_names_and_paths[name][1].update(folder_paths.supported_pt_extensions)
    # ComfyUI's own Load LoRA finds the shapes world's LoRA, so that the examples run.
    folder_paths.add_model_folder_path(LORAS, str(files.LORAS))


def choices(folder: str) -> list[str]:
    """File names for a combo box: the artist's, then the shapes world's."""
    demo = [DEMO + name for name in DEMO_FILES.get(folder, ()) if (files.WEIGHTS / name).is_file()]
    return folder_paths.get_filename_list(folder) + demo


def accepted(folder: str, name: Any, *others: str) -> bool | str:
    """What a node's ``validate_inputs`` says of a choice, in place of ComfyUI's own comparison.

    A workflow that was saved on Windows says ``sub\\dog.safetensors``, one of another system
    ``sub/dog.safetensors``: each stands for the other. name: None where it comes through a wire.
    others: choices beside the files.
    """
    known = (*others, *choices(folder))
    if name is None or name in known:
        return True
    if isinstance(name, str) and _plain(name) in [other.replace(os.sep, "/") for other in known]:
        return True
    shown = f"(list of length {len(known)})" if len(known) > 20 else str(list(known))
    return f"{name!r} not in {shown}"


def path_of(folder: str, name: str) -> Path:
    """The file behind a choice. Raises UserError where it is gone."""
    shipped = name.removeprefix(DEMO)
    if name.startswith(DEMO) and shipped in DEMO_FILES.get(folder, ()):
        return files.WEIGHTS / shipped
    path = find(folder, name)
    if path is None:
        raise UserError(
            name,
            "no such file",
            f"a file in {folder_paths.get_folder_paths(folder)[0]}",
            "Put it there, press R to refresh, and choose it again.",
        )
    return path


def find(folder: str, name: str) -> Path | None:
    """A file in one of ComfyUI's folders, or below, by its name with / or \\; never one outside.

    It is asked for, not looked up in a list: that of ``custom_nodes`` has tens of thousands.
    """
    for spelled in dict.fromkeys((name, _plain(name))):
        with contextlib.suppress(ValueError):  # another drive, which Windows compares with nothing
            path = folder_paths.get_full_path(folder, spelled)
            if path is not None:
                return Path(path)
    return None


def _plain(name: str) -> str:
    """A name that was saved on any system, as it is on all of them."""
    return name.replace("\\", "/")


def demo_clips() -> list[str]:
    """The shapes world's folders of clips, as an artist names them."""
    return [DEMO + path.name for path in sorted(files.CLIPS.glob("*")) if path.is_dir()]


def demo_clips_path(text: str) -> Path | None:
    """The folder that ``demo: NAME`` stands for; None for other text.

    Only the names that are there are taken, so none leads out of the pack's folder of clips.
    Raises UserError for others.
    """
    if not text.startswith(DEMO.strip()):
        return None
    named = DEMO + text.removeprefix(DEMO.strip()).strip()
    if named not in demo_clips():
        raise UserError(
            "folder",
            repr(text),
            f"one of {', '.join(map(repr, demo_clips()))}",
            "Write one of these, or name a folder of your own.",
        )
    return files.CLIPS / named.removeprefix(DEMO)
