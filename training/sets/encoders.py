"""What turns pixels and words into a diffusion model's latents and embeddings."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from ...adapters.files.tensors import file_hash, read_tensors, refuse_non_finite
from ...adapters.files.text_encoder import TABLE, text_tensors
from ...common.errors import UserError

SD15_TEXT_DIM = 768
# Where ComfyUI looks for them in an SD1.5 checkpoint.
VAE, CLIP = "first_stage_model.", "cond_stage_model.transformer."
AROUND = Path(__file__).resolve().parents[4]  # the ComfyUI whose custom_nodes hold the pack


class Encoder(Protocol):
    """A VAE and a text encoder. id names the maths and the weights: equal ids, equal results."""

    id: str
    factor: int  # pixels per latent pixel

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(n, 3, H, W) in 0..1 to (n, 4, h, w) float32 at the diffusion model's scale."""
        ...

    def encode_prompt(self, text: str) -> Tensor:
        """Words to (tokens, dim) float32. Raises UserError for text it cannot take."""
        ...


class ShapesEncoder:
    """The shapes world's exact encoder; it has no weights."""

    factor = 8

    def __init__(self) -> None:
        from ...worlds.shapes import latents

        self._latents = latents
        # No weights to hash, so the id is made from what it does to a fixed input.
        ramp = torch.linspace(0, 1, 3 * 8 * 8, dtype=torch.float32, device="cpu")
        ramp = ramp.reshape(1, 3, 8, 8)
        seen = [*latents.encode_image(ramp).flatten(), *latents.encode_prompt("red a").flatten()]
        trace = " ".join(f"{value:.3f}" for value in seen)
        self.id = f"shapes-{hashlib.sha256(trace.encode()).hexdigest()[:16]}"

    def encode_frames(self, frames: Tensor) -> Tensor:
        return self._latents.encode_image(frames)

    def encode_prompt(self, text: str) -> Tensor:
        try:
            return self._latents.encode_prompt(text)
        except ValueError as error:
            count, limit = len(text.replace(",", " ").split()), self._latents.TOKENS
            raise UserError(
                f"caption {text[:60]!r}", f"{count} words", f"at most {limit}",
                "Write colour, shape, direction, look, as in 'red circle left night'.",
            ) from error  # fmt: skip  # file, found, expected, next move


class HostEncoder:
    """A VAE and a CLIP that are loaded in ComfyUI already, as its graphs carry them.

    process_in: takes the VAE's latents to the model's scale. Latents are the mode of the VAE's
    distribution, so equal frames give equal latents. Prompts are plain text (brackets are letters,
    not weights); one of more than 75 tokens is read in sections of 77, as ComfyUI samples with it.
    id: made from the weights where the caller knows them, else from what both do to a fixed input,
    so that LoRAs on the CLIP count.
    """

    factor = 8

    def __init__(
        self, vae: Any, clip: Any, process_in: Callable[[Tensor], Tensor], id: str | None = None
    ):
        self._vae, self._clip, self._process_in = vae, clip, process_in
        self.id = id or self._trace()

    def _trace(self) -> str:
        # By name: another pack may have given torch other defaults.
        ramp = torch.linspace(0, 1, 3 * 64 * 64, dtype=torch.float32, device="cpu")
        ramp = ramp.reshape(1, 3, 64, 64)
        seen = [*self.encode_frames(ramp).flatten(), *self.encode_prompt("a photo of a dog")[1]]
        # Rounded: the last digits differ between devices.
        trace = " ".join(f"{value:.1f}" for value in seen)
        return f"sd15-{hashlib.sha256(trace.encode()).hexdigest()[:32]}"

    @torch.inference_mode()
    def encode_frames(self, frames: Tensor) -> Tensor:
        # One at a time: ComfyUI would choose the batch by free memory, and batches of different
        # sizes differ in the last bits. One frame is work enough for a GPU.
        single = (frame.movedim(1, -1) for frame in frames.split(1))
        latents = torch.cat([self._vae.encode(frame).float().cpu() for frame in single])
        _refuse_non_finite("VAE", latents)
        return self._process_in(latents).clone()

    @torch.inference_mode()
    def encode_prompt(self, text: str) -> Tensor:
        tokens = self._clip.tokenize(text, disable_weights=True)
        embedding = self._clip.encode_from_tokens(tokens)
        _refuse_non_finite("CLIP", embedding)
        return embedding[0].float().cpu().clone()

    def sections(self, text: str) -> int:
        """How many times 77 tokens a prompt takes."""
        return max(map(len, self._clip.tokenize(text, disable_weights=True).values()))


class ComfyEncoder(HostEncoder):
    """ComfyUI's own VAE and CLIP, from an SD1.5 single-file checkpoint. A context manager.

    comfyui: a ComfyUI checkout; None looks in COMFYUI_PATH and around this pack.
    Raises UserError when ComfyUI is not found or the checkpoint has no SD1.5 VAE and CLIP.
    """

    def __init__(self, comfyui: Path | None, checkpoint: Path):
        checkpoint = Path(checkpoint)
        tensors = _read(checkpoint)
        sd, self._management, formats = _import_comfy(comfyui)
        try:
            _, clip, vae, _ = sd.load_state_dict_guess_config(
                tensors, output_vae=True, output_clip=True, output_model=False
            )
        # ComfyUI raises bare RuntimeErrors and KeyErrors for a file it does not know.
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise _not_sd15(checkpoint, f"a file that ComfyUI cannot load ({error})") from error
        if clip is None or vae is None:
            raise _not_sd15(checkpoint, "no UNet that ComfyUI recognizes")
        super().__init__(vae, clip, formats.SD15().process_in, f"sd15-{file_hash(checkpoint)}")

    def __enter__(self) -> ComfyEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode_prompt(self, text: str) -> Tensor:
        if "embedding:" in text:  # a node has folders of them, and nothing here says which
            raise UserError(
                f"caption {text[:60]!r}", "an embedding, which only ComfyUI's nodes find", "words",
                "Leave it out, or make the set with Image Set or Clip Set.",
            )  # fmt: skip  # subject, found, expected, next move
        return super().encode_prompt(text)

    def close(self) -> None:
        """Free the models. The encoder cannot be used after this."""
        self._clip = self._vae = None
        self._management.unload_all_models()
        self._management.soft_empty_cache()


def _refuse_non_finite(part: str, given: Tensor) -> None:
    if not torch.isfinite(given).all():
        raise UserError(
            part, "NaN or infinite numbers in what it gives", "finite numbers",
            f"Its weights are damaged, or overflow in fp16: use another {part}, or fp32.",
        )  # fmt: skip  # subject, found, expected, next move


def _read(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors, its parts where ComfyUI looks for them.

    Raises UserError that names the part which is missing, another family's, or not of numbers.
    """
    tensors, _ = read_tensors(path)
    vae = {name: tensor for name, tensor in tensors.items() if name.startswith(VAE)}
    if not vae:
        raise _not_sd15(path, f"no VAE in it (no {VAE}* keys)")
    refuse_non_finite(f"{path}, its VAE", vae)
    text = text_tensors(path, tensors)
    width = text[TABLE].shape[-1]
    if width != SD15_TEXT_DIM:
        raise _not_sd15(path, f"a text encoder {width} wide")
    refuse_non_finite(f"{path}, its text encoder", text)
    if not any(name.startswith(CLIP) for name in tensors):  # ComfyUI looks nowhere else
        tensors |= {f"{CLIP}text_model.{name}": tensor for name, tensor in text.items()}
    return tensors


def _not_sd15(path: Path, found: str) -> UserError:
    return UserError(
        path, found, "an SD1.5 checkpoint with its VAE and CLIP",
        "Choose a full SD1.5 single-file checkpoint.",
    )  # fmt: skip  # file, found, expected, next move


def find_comfyui(given: Path | None) -> Path:
    """The ComfyUI checkout: as given, else COMFYUI_PATH, else the one this pack is installed in."""
    places: list[tuple[str, Path]] = []
    if given is not None:
        places.append(("--comfyui", Path(given)))
    else:
        if os.environ.get("COMFYUI_PATH"):
            places.append(("COMFYUI_PATH", Path(os.environ["COMFYUI_PATH"])))
        places.append(("around the pack", AROUND))
    for _, place in places:
        if (place / "comfy" / "sd.py").is_file():
            return place.resolve()
    looked = ", ".join(f"{place} ({why})" for why, place in places)
    raise UserError(
        "ComfyUI", f"no checkout in {looked}", "a folder with comfy/sd.py in it",
        "Pass --comfyui PATH or set COMFYUI_PATH.",
    )  # fmt: skip  # file, found, expected, next move


def _import_comfy(given: Path | None) -> tuple[ModuleType, ModuleType, ModuleType]:
    """comfy.sd, comfy.model_management and comfy.latent_formats, with nothing fetched."""
    if "comfy.model_management" not in sys.modules:
        place = str(find_comfyui(given))
        # transformers reads these when it is imported; ComfyUI carries its tokenizer with it.
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        if place not in sys.path:
            # Last on the path: ComfyUI's root has modules named nodes, utils, tests and server.
            sys.path.append(place)
    try:
        # comfy parses sys.argv only where its main.py asked for that, so our options are safe.
        arguments = importlib.import_module("comfy.cli_args").args
        if not _has_accelerator():
            arguments.cpu = True  # read once, when model_management is imported
        sd = importlib.import_module("comfy.sd")
        management = importlib.import_module("comfy.model_management")
        formats = importlib.import_module("comfy.latent_formats")
    except ImportError as error:
        raise UserError(
            "ComfyUI", f"that it cannot be imported ({error})", "its requirements installed",
            "Use ComfyUI's own Python, or install its requirements.txt here.",
        ) from error  # fmt: skip  # file, found, expected, next move
    return sd, management, formats


def _has_accelerator() -> bool:
    checks: list[Callable[[], bool]] = [
        torch.cuda.is_available,
        torch.backends.mps.is_available,
        torch.xpu.is_available,
    ]
    return any(check() for check in checks)
