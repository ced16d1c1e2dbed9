"""Image Set and Clip Set: pictures and words -> TRAINING_SET."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from ...common.errors import UserError
from ...training.sets.build import CacheOptions
from ...training.sets.store import content_key
from ..shared import folders
from ..shared.cancel import cancellable
from ..shared.sockets import CATEGORY, TRAINING_SET, advanced
from .cached import CachedSet, SetNode, encoder_of, listing, make_set
from .pictures import by_number, captions_for, keep_pictures, named, whole_pictures


def resolve_folder(text: str) -> Path:
    """A folder that an artist names: whole, below ComfyUI's input folder, or ``demo: NAME``."""
    text = text.strip().strip('"')
    if demo := folders.demo_clips_path(text):
        return demo
    folder = _below_input(text)
    if not _is_folder(folder) and "\\" in text:  # written on Windows
        folder = _below_input(text.replace("\\", "/"))
    if not _is_folder(folder):
        raise UserError(
            "folder",
            f"no folder {str(folder)[:300]!r}",
            "a folder of pictures or clips",
            "Paste its whole path, or its name in ComfyUI's input folder.",
        )
    return folder


def _below_input(text: str) -> Path:
    inside = Path(folder_paths.get_input_directory())
    try:
        return inside / Path(text).expanduser()  # a whole path stays what it is
    except RuntimeError:  # "~name", and nobody is called so
        return inside / text


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # longer than a name can be, or with a zero byte
        return False


def one_source(batch: Tensor | None, folder: str, input_name: str) -> None:
    """Raises UserError unless exactly one of a batch and a folder is there."""
    if (batch is None) == (not folder.strip()):
        found = "neither" if batch is None else "both"
        raise UserError(
            f"{input_name} and folder",
            found,
            "one of the two",
            f"Connect {input_name}, or name a folder; leave the other one empty.",
        )


def size_inputs() -> list[io.Input]:
    """Width and height of the encoded pictures, and how they are cropped."""
    sides = [
        io.Int.Input(
            side,
            default=512,
            min=64,
            max=2048,
            step=8,
            tooltip=f"{side.capitalize()} in pixels that pictures are scaled and cropped to. The"
            " shapes world has 128.",
        )
        for side in ("width", "height")
    ]
    crop = advanced(
        io.Combo.Input(
            "crop",
            options=["centre", "random"],
            tooltip="Which part of a picture of another shape is kept.",
        )
    )
    return [*sides, crop]


def set_inputs(connected: io.Input, files: str, *more: io.Input, also: str = "") -> list[io.Input]:
    """Of a node that gathers a set: pictures that are connected, or a folder of files.

    also: what else may be written for a folder.
    """
    return [
        io.Clip.Input("clip", tooltip="Encodes the captions: of the checkpoint to train for."),
        io.Vae.Input("vae", tooltip="Encodes the pictures: of the checkpoint to train for."),
        connected,
        io.String.Input(
            "folder",
            default="",
            tooltip=f"Instead of connecting them: a folder of {files}, as a whole path or a name in"
            f" ComfyUI's input folder.{also}",
        ),
        io.String.Input(
            "captions",
            default="",
            multiline=True,
            tooltip="One line for all, or a line for each, in their order. A folder: for the files"
            " that have no words of their own, in a .txt beside them or a table.",
        ),
        *more,
        *size_inputs(),
    ]


def gathered(
    input_name: str, batch: Tensor | None, length: int, folder: str, captions: str,
    clip: Any, vae: Any, **options: Any,
) -> CachedSet:  # fmt: skip  # the inputs by kind, several a line
    """The set of a folder, or of a batch (n * length, height, width, 3): n pictures or clips.

    input_name: the batch's. Raises UserError unless exactly one of the two is there, and fits.
    """
    one_source(batch, folder, input_name)
    prompt = None
    if batch is not None:
        batch = whole_pictures(batch, input_name)
    if batch is None:
        place, prompt = resolve_folder(folder), captions.strip() or None
    elif len(batch) % length:
        raise UserError(
            input_name, f"{len(batch)} frames", f"a multiple of {length}",
            "Set frames to the length of one clip.",
        )  # fmt: skip  # file, found, expected, next move
    else:
        groups = batch.split(length)
        place = keep_pictures(groups, captions_for(captions, len(groups)))
    with named(place, input_name):
        made = make_set(place, encoder_of(vae, clip), CacheOptions(prompt=prompt, **options))
    return made if batch is None else replace(made, notes=tuple(map(by_number, made.notes)))


def frame_inputs() -> list[io.Input]:
    """Which frames of a clip are taken."""
    return [
        io.Int.Input("frames", default=16, min=2, max=64, tooltip="Frames taken of each clip."),
        io.Float.Input(
            "fps",
            default=0.0,
            min=0.0,
            max=60.0,
            tooltip="Frames a second to read clips at; 0 takes them as filmed. AnimateDiff was"
            " trained on every fourth frame, which is about 8.",
        ),
        advanced(
            io.Int.Input(
                "stride",
                default=1,
                min=1,
                max=16,
                tooltip="Takes every frame (1), every second one (2), and so on.",
            )
        ),
    ]


class FolderSet(SetNode):
    """A set that may be read from a folder, and again when a file in it has changed."""

    @classmethod
    def fingerprint_inputs(cls, folder: str = "", **inputs: Any) -> str:
        try:
            state = content_key(listing(resolve_folder(folder))) if folder.strip() else ""
        except UserError:  # execute says it
            state = ""
        return f"{super().fingerprint_inputs(folder=folder, **inputs)} {state}"


class ImageSet(FolderSet):
    """Pictures and captions -> TRAINING_SET of stills."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingImageSet",
            display_name="Image Set",
            category=CATEGORY,
            description="Still images to train on, with their captions. Encoded once; the same"
            " images are found again.",
            inputs=set_inputs(
                io.Image.Input("images", optional=True, tooltip="A batch of images."), "images"
            ),
            outputs=[TRAINING_SET.Output(display_name="training_set")],
            is_output_node=True,
        )

    @classmethod
    def gather(cls, images: Tensor | None = None, **inputs: Any) -> CachedSet:
        return gathered("images", images, 1, kind="stills", **inputs)


class ClipSet(FolderSet):
    """Clips and captions -> TRAINING_SET of natural clips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingClipSet",
            display_name="Clip Set",
            category=CATEGORY,
            description="Natural clips to train on: they teach what ordinary motion is. The"
            " paper takes 40 real clips with captions.",
            inputs=set_inputs(
                io.Image.Input(
                    "clips",
                    optional=True,
                    tooltip="Frames of one or more clips of equal length, one after the other.",
                ),
                "clips (mp4, mov, mkv, webm, avi, gif and more)",
                *frame_inputs(),
                also=f" In the shapes world: {' or '.join(map(repr, folders.demo_clips()))}.",
            ),
            outputs=[
                TRAINING_SET.Output(display_name="training_set"),
                io.Image.Output(
                    display_name="first_clip",
                    tooltip="The frames of the first clip, as they are trained on: for Invert Clip,"
                    " or to look at.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    @cancellable()  # the first clip is decoded once more
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        given = super().execute(**inputs)
        cached: CachedSet = given[0]
        return io.NodeOutput(cached, cached.first(), ui=given.ui)

    @classmethod
    def gather(
        cls, frames: int, fps: float, clips: Tensor | None = None, **inputs: Any
    ) -> CachedSet:
        options = {"kind": "clips", "frames": frames, "fps": fps or None, "timed": clips is None}
        return gathered("clips", clips, frames, **options, **inputs)
