"""Image Set and Clip Set: pictures and words -> TRAINING_SET, encoded once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.latent_formats
import folder_paths
import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ...adapters.errors import UserError
from ...training.cache.build import CacheOptions, build_set
from ...training.cache.encoders import Encoder, HostEncoder, ShapesEncoder
from ...training.cache.media import IMAGES, VIDEOS
from ...training.cache.store import SHEET_FILE, content_key
from ..motion import CATEGORY
from ..shapes_world.pixels import ShapesVAE
from . import places

TrainingSet = io.Custom("TRAINING_SET")


def advanced(made: io.Input) -> io.Input:
    """An input that a node shows only when asked for more; 0.3.64 has no argument for it."""
    made.extra_dict = {"advanced": True}
    return made


@dataclass(frozen=True)
class CachedSet:
    """What goes through a TRAINING_SET wire. folder: a cached set of training/cache/."""

    folder: Path
    kind: str  # "stills" or "clips"
    count: int
    frames: int


def encoder_of(vae: Any, clip: Any) -> Encoder:
    """The encoder behind a VAE and a CLIP; the shapes world's own is exact."""
    if isinstance(vae, ShapesVAE):
        return ShapesEncoder()
    return HostEncoder(vae, clip, comfy.latent_formats.SD15().process_in)


def make_set(folder: Path, encoder: Encoder, options: CacheOptions) -> CachedSet:
    """Encode a folder, or find it encoded already. Raises UserError for what must be mended.

    The place is named after the contents, so a job keeps the set that it began with when the
    folder changes.
    """
    seen = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in (*IMAGES, *VIDEOS, ".txt")
    ]
    key = content_key(str(folder), seen, encoder.id, options.to_json())[:32]
    made = build_set(folder, places.sets() / key, encoder, options, progress=False)
    frames = len(made.items[0].latents)
    return CachedSet(places.sets() / key, made.kind, len(made.items), frames)


def show_set(cls: Any, made: CachedSet) -> io.NodeOutput:
    """The node's output, with the contact sheet on the node."""
    with Image.open(made.folder / SHEET_FILE) as sheet:
        pixels = torch.from_numpy(np.asarray(sheet.convert("RGB")).copy())
    preview: Any = ui.PreviewImage(pixels[None].float() / 255, cls=cls)
    return io.NodeOutput(made, ui=preview)


def captions_for(text: str, count: int) -> list[str]:
    """One caption for all, or one a line. Raises UserError when neither fits."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        return lines * count
    if len(lines) != count:
        raise UserError(
            "captions",
            f"{len(lines)} lines for {count} pictures",
            "one line for all of them, or a line for each",
            "Write what is to be seen; the words are learned from.",
        )
    return lines


def keep_pictures(groups: Sequence[Tensor], captions: Sequence[str]) -> Path:
    """Write pictures or clips and captions to a folder named after them.

    groups: (frames, height, width, 3) in 0..1 each; one frame is a picture.
    """
    digest = hashlib.sha256(json.dumps(list(captions)).encode())
    arrays = [np.asarray((g[..., :3].clamp(0, 1) * 255).round().byte().cpu()) for g in groups]
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    folder = places.pictures() / digest.hexdigest()[:32]
    if (folder / "complete").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for i, (array, caption) in enumerate(zip(arrays, captions, strict=True)):
        path = folder / f"{i:04d}"
        save_clip(array, path.with_suffix(".mkv")) if len(array) > 1 else (
            Image.fromarray(array[0]).save(path.with_suffix(".png"))
        )
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    (folder / "complete").touch()
    return folder


def save_clip(frames: np.ndarray, path: Path) -> None:
    """Write a clip without loss, 8 frames a second. frames: uint8 (n, height, width, 3).

    As video: an animated picture would drop a frame that equals the one before.
    """
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=8)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def resolve_folder(text: str) -> Path:
    """A folder that an artist names: whole, or below ComfyUI's input folder."""
    folder = Path(text.strip().strip('"')).expanduser()
    if not folder.is_absolute():
        folder = Path(folder_paths.get_input_directory()) / folder
    if not folder.is_dir():
        raise UserError(
            "folder",
            f"no folder {str(folder)!r}",
            "a folder of pictures or clips",
            "Paste its whole path, or its name in ComfyUI's input folder.",
        )
    return folder


def one_source(batch: Tensor | None, folder: str, what: str) -> None:
    """Raises UserError unless exactly one of a batch and a folder is there."""
    if (batch is None) == (not folder.strip()):
        found = "neither" if batch is None else "both"
        raise UserError(
            f"{what} and folder",
            found,
            "one of the two",
            f"Connect {what}, or name a folder; leave the other one empty.",
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


def coder_inputs() -> list[io.Input]:
    return [
        io.Clip.Input("clip", tooltip="Encodes the captions: of the checkpoint to train for."),
        io.Vae.Input("vae", tooltip="Encodes the pictures: of the checkpoint to train for."),
    ]


def caption_input() -> io.String.Input:
    return io.String.Input(
        "captions",
        default="",
        multiline=True,
        tooltip="Connected pictures: one line for all, or a line for each. A folder: the words of"
        " files that have no .txt beside them.",
    )


def folder_input(what: str) -> io.String.Input:
    return io.String.Input(
        "folder",
        default="",
        tooltip=f"Instead of connecting them: a folder of {what}, as a whole path or a name in"
        " ComfyUI's input folder.",
    )


class ImageSet(io.ComfyNode):
    """Pictures and captions -> TRAINING_SET of stills."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingImageSet",
            display_name="Image Set",
            category=CATEGORY,
            description="Still images to train on, with their captions. Encoded once; the same"
            " images are found again.",
            inputs=[
                *coder_inputs(),
                io.Image.Input("images", optional=True, tooltip="A batch of images."),
                folder_input("images"),
                caption_input(),
                *size_inputs(),
            ],
            outputs=[TrainingSet.Output(display_name="training_set")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        vae: Any,
        folder: str,
        captions: str,
        images: Tensor | None = None,
        **size: Any,
    ) -> io.NodeOutput:
        one_source(images, folder, "images")
        prompt = None
        if images is None:
            place, prompt = resolve_folder(folder), captions.strip() or None
        else:
            words = captions_for(captions, len(images))
            place = keep_pictures(images.split(1), words)
        options = CacheOptions(kind="stills", prompt=prompt, **size)
        return show_set(cls, make_set(place, encoder_of(vae, clip), options))


class ClipSet(io.ComfyNode):
    """Clips and captions -> TRAINING_SET of natural clips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingClipSet",
            display_name="Clip Set",
            category=CATEGORY,
            description="Natural clips to train on: they teach what ordinary motion is. About 40"
            " real clips with captions do.",
            inputs=[
                *coder_inputs(),
                io.Image.Input(
                    "clips",
                    optional=True,
                    tooltip="Frames of one or more clips of equal length, one after the other.",
                ),
                folder_input("clips (mp4, mov, webm, mkv, gif, webp)"),
                caption_input(),
                io.Int.Input(
                    "frames", default=16, min=2, max=64, tooltip="Frames taken of each clip."
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=60.0,
                    tooltip="Frames a second to read clips at; 0 takes them as filmed. AnimateDiff"
                    " was trained at about 8.",
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
                *size_inputs(),
            ],
            outputs=[TrainingSet.Output(display_name="training_set")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        vae: Any,
        folder: str,
        captions: str,
        frames: int,
        fps: float,
        stride: int,
        clips: Tensor | None = None,
        **size: Any,
    ) -> io.NodeOutput:
        one_source(clips, folder, "clips")
        prompt = None
        if clips is None:
            place, prompt = resolve_folder(folder), captions.strip() or None
        else:
            if len(clips) % frames:
                raise UserError(
                    "clips", f"{len(clips)} frames", f"a multiple of {frames}",
                    "Set frames to the length of one clip.",
                )  # fmt: skip
            whole = clips.split(frames)
            place = keep_pictures(whole, captions_for(captions, len(whole)))
        options = CacheOptions(
            kind="clips", prompt=prompt, frames=frames, fps=fps or None, stride=stride, **size
        )
        return show_set(cls, make_set(place, encoder_of(vae, clip), options))
