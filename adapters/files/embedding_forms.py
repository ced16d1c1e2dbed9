"""The forms of textual-inversion embeddings, and what each holds.

Those that ComfyUI reads (comfy/sd1_clip.py, load_embed): of AUTOMATIC1111, of diffusers, of kohya's
and other trainers, and those for models with several text encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

EMB_PARAMS = "emb_params"
_PARAM = "string_to_param."
# The text encoders' widths: by them alone is a tensor with a word for a name an embedding.
FAMILIES = {64: "the shapes world", 768: "SD1.5", 1024: "SD2", 1280: "SDXL", 4096: "T5"}
_ENCODERS = ("clip_l", "clip_g", "clip_h", "t5xxl")
_MOST_TENSORS = 200


class EmbeddingForm(NamedTuple):
    """form: in words; rows: of the first text encoder, (tokens, width); words: that call it."""

    form: str
    rows: Tensor
    family: str
    words: tuple[str, ...] = ()


def is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are a textual-inversion embedding, in any known form."""
    return form_of_embedding(tensors) is not None


def form_of_embedding(tensors: Mapping[str, Tensor]) -> EmbeddingForm | None:
    """Which form of embedding tensors are; None for other files."""
    params = {n: t for n, t in tensors.items() if n.startswith(_PARAM) and _is_rows(t)}
    if EMB_PARAMS in tensors:
        rows = tensors[EMB_PARAMS]
        return _form("emb_params (kohya, AUTOMATIC1111)", rows) if _is_rows(rows) else None
    if params:
        return _form("AUTOMATIC1111 (string_to_param)", next(iter(params.values())))
    if not tensors or len(tensors) > _MOST_TENSORS or not all(map(_is_rows, tensors.values())):
        return None
    if set(tensors) <= set(_ENCODERS):
        several = "SDXL" if "clip_g" in tensors else "SD2" if "clip_h" in tensors else "SD1.5"
        several = "SD3 or Flux" if "t5xxl" in tensors else several
        parts = [name for name in _ENCODERS if name in tensors]
        form = f"one part a text encoder ({', '.join(parts)})"
        return EmbeddingForm(form, _rows(tensors[parts[0]]), several)
    # A list of such files has the place before the word.
    words = tuple(name.partition(".")[2] if name[:1].isdigit() else name for name in tensors)
    known = all(t.shape[-1] in FAMILIES for t in tensors.values())
    if known and all(word[:1] == "<" or _is_word(word) for word in words):
        rows = next(iter(tensors.values()))
        return _form("diffusers (one tensor a word)", rows)._replace(words=words)
    return None


def _form(form: str, tensor: Tensor) -> EmbeddingForm:
    width = tensor.shape[-1] if tensor.ndim else 0
    return EmbeddingForm(form, _rows(tensor), FAMILIES.get(width, f"text {width} wide"))


def _rows(tensor: Tensor) -> Tensor:
    return tensor[None] if tensor.ndim == 1 else tensor


def _is_word(name: str) -> bool:
    return bool(name) and "." not in name and name not in ("weight", "bias")


def _is_rows(tensor: Tensor) -> bool:
    return tensor.ndim in (1, 2) and tensor.is_floating_point() and tensor.numel() > 0
