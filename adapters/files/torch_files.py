"""What torch has saved, read without running any of it: checkpoints of trainers beside tensors.

``weights_only`` refuses a file for one foreign object in it, such as the settings that Lightning
keeps beside the weights. Objects of known packages are replaced by empty ones here, so nothing of
theirs is imported, called or kept; whatever else could run code is refused by its name.
"""

from __future__ import annotations

import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...common.errors import UserError

EXPECTED = "tensors and plain values, as torch.save writes them"
CONVERT = "Use the model's .safetensors form, or convert it with the tool that wrote it."
# Packages whose objects stand beside tensors in the files of trainers. ComfyUI allows Lightning's
# ModelCheckpoint and numpy's scalars (comfy/utils.py).
HARMLESS = re.compile(
    r"(?:pytorch_lightning|lightning|lightning_fabric|omegaconf|numpy|argparse|transformers"
    r"|diffusers|accelerate|yaml|easydict|ml_collections)\..+"
    r"|collections\.defaultdict|_codecs\.encode|torch\.torch_version\.TorchVersion"
    r"|pathlib\.(?:_local\.)?(?:Pure)?(?:Posix|Windows)?Path|datetime\.\w+|typing\.\w+"
    r"|torch\.optim\.\w+\.\w+"
    r"|builtins\.(?:list|dict|tuple|set|frozenset|int|float|complex|bool|str|bytes|object|range)"
)
_REFUSED = re.compile(
    r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)"
    r"|Unsupported class (\S+) was encountered"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # torch prints parts of its text in bold
_MOST_NAMES = 10**6  # of tensors, of a file whose parts stand in several places
_MOST_DEPTH = 8  # of dictionaries inside each other
_MOST_BEYOND = 2**28  # bytes of tensors (expanded ones) beyond those that are stored
_ALLOWING = threading.Lock()  # what torch allows is one list for the whole process
# What trainers call the weights among what else they save; the plain ones before an average.
WRAPPINGS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "params"),
    *("ema_state_dict", "params_ema", "model_ema", "ema_model", "ema"),
)


def load_torch(path: Path, file: BinaryIO) -> Any:
    """What a file of torch holds, on the CPU. Raises UserError for a form that is not read.

    Other errors mean that the file is damaged.
    """
    _refuse_other_archives(path, file)
    try:
        return _load(file, "cpu")
    except UnpicklingError as error:
        names = _foreign(path, file, error)
    with _allowing(names):
        return _load(file, "cpu")


def plain(text: str) -> str:
    """An error's first line without the escape codes that torch puts into it."""
    return (_COLOURS.sub("", text).strip().splitlines() or [""])[0][:120]


def tensors_of(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of what a file holds by name, out of what trainers wrap them in.

    Parts that are dictionaries beside each other are joined under their names. A part may be in
    several places, or in itself. Raises UserError for what would grow far beyond the file.
    """
    known: dict[int, bool] = {}
    walked: set[int] = set()
    while isinstance(content, Mapping) and id(content) not in walked:
        walked.add(id(content))
        content = _wrapped(content, known) or content
    found: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        found = dict(_own(content))
        parts = {
            name: part
            for name, part in content.items()
            if isinstance(name, str) and isinstance(part, Mapping) and id(part) not in walked
        }
        if (names := sum(map(len, parts.values()))) > _MOST_NAMES:
            raise _grown(path, f"{names} names")
        for name, part in parts.items():
            found |= {f"{name}.{key}": tensor.detach() for key, tensor in _own(part)}
    found = found or _nested(content, set())
    sizes = ((t.numel() * t.itemsize, t.untyped_storage().nbytes()) for t in found.values())
    beyond = sum(max(0, size - stored) for size, stored in sizes)
    if beyond > _MOST_BEYOND:
        raise _grown(path, f"{beyond / 2**30:.3g} GiB of repeated numbers")
    return {name: tensor.detach() for name, tensor in found.items()}


def _grown(path: Path, what: str) -> UserError:
    return UserError(
        path, f"{what} out of parts that are stored once", EXPECTED,
        "Save its state dict anew, each tensor contiguous.",
    )  # fmt: skip  # file, found, expected, next move


def _nested(content: Any, seen: set[int], prefix: str = "", depth: int = 4) -> dict[str, Tensor]:
    """The tensors of a file that has none near its top, by their paths: lists of embeddings.

    seen: parts that were entered, each once.
    """
    if isinstance(content, Tensor):
        return {prefix: content} if prefix and _is_plain(content) else {}
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, Mapping):
        pairs = content.items()
    elif isinstance(content, list | tuple):
        pairs = enumerate(content)
    found: dict[str, Tensor] = {}
    if depth == 0 or id(content) in seen:
        return found
    seen.add(id(content))
    for name, inner in pairs:
        found |= _nested(inner, seen, f"{prefix}.{name}" if prefix else str(name), depth - 1)
    return found


def _wrapped(
    content: Mapping[Any, Any], known: dict[int, bool], depth: int = 0
) -> Mapping[Any, Any] | None:
    """The part of a dictionary that the weights are in; None where they are in itself.

    known: whether parts have tensors, by their ids.
    """
    inside = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    parts = {k: v for k, v in inside.items() if _has_tensors(v, known, depth + 1)}
    wrapping = next((parts[name] for name in WRAPPINGS if name in parts), None)
    if wrapping is None and len(content) == 1 and parts:
        return next(iter(parts.values()))
    return wrapping


def _has_tensors(part: Mapping[Any, Any], known: dict[int, bool], depth: int) -> bool:
    """Whether a part, or what it wraps, has tensors; those far down do not count."""
    if id(part) not in known:
        known[id(part)] = False  # one that holds itself
        own = any(True for _ in _own(part))
        deeper = depth < _MOST_DEPTH
        known[id(part)] = own or (deeper and _wrapped(part, known, depth) is not None)
    return known[id(part)]


def _own(part: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in part.items():
        if isinstance(name, str) and isinstance(value, Tensor) and _is_plain(value):
            yield name, value


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    )


def _load(file: BinaryIO, device: str) -> Any:
    file.seek(0)
    return torch.load(file, map_location=device, weights_only=True)


def _foreign(path: Path, file: BinaryIO, error: UnpicklingError) -> list[str]:
    """Names of the harmless objects that torch refuses a file for.

    Raises UserError for another one, and the error itself where it means something else.
    """
    names: list[str] = []
    while match := _REFUSED.search(_COLOURS.sub("", str(error))):
        name = (match[1] or match[2]).rstrip(".")
        name = name if "." in name else f"builtins.{name}"  # as torch calls Python's own
        if not HARMLESS.fullmatch(name) or name in names:
            raise UserError(
                path, f"an object of Python ({name}) in it, which could run code", EXPECTED,
                f"If you do not know who made it, do not use it. {CONVERT}",
            )  # fmt: skip  # file, found, expected, next move
        names.append(name)
        try:
            with _allowing(names):
                _load(file, "meta")  # reads no tensors
            return names
        except UnpicklingError as next_error:
            error = next_error
    _refuse_protocol(path, file)
    raise error


def _refuse_protocol(path: Path, file: BinaryIO) -> None:
    """Raise UserError for a pickle of a later kind than torch reads without running it."""
    file.seek(0)
    head = file.read(2)
    if head[:1] == b"P":
        with zipfile.ZipFile(file) as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            head = archive.read(name)[:2]
    if head[:1] == b"\x80" and 2 < head[1] <= 5:
        raise UserError(
            path, f"a pickle of protocol {head[1]}, which could run code", EXPECTED, CONVERT
        )


@contextmanager
def _allowing(names: Iterable[str]) -> Iterator[None]:
    """Have torch put an empty object where a file has one of these."""
    allow: Any = getattr(torch.serialization, "safe_globals", None)
    if allow is None:  # before torch 2.5
        yield
        return
    with _ALLOWING, allow([_stand_in(name) for name in names]):
        yield


def _stand_in(name: str) -> type:
    module, _, own = name.rpartition(".")
    base = _Number if name.startswith("numpy.") else _Nothing
    return type(own, (base,), {"__module__": module})


class _Nothing:
    """Takes whatever it is made with, and is an empty dictionary: what a pickle fills by items."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _Number:
    """In place of numpy's: takes whatever it is made with, and keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _refuse_other_archives(path: Path, file: BinaryIO) -> None:
    """Raise UserError for a zip archive that is whole and of something else."""
    file.seek(0)
    if file.read(2) != b"PK":
        return
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return  # torch says what is wrong with it
    scripted = any(name.endswith("/constants.pkl") for name in names)
    if scripted:
        found, advice = "a TorchScript program", "Use the model's weights (a state dict) instead."
    elif names and not any(name.endswith("data.pkl") for name in names):
        found, advice = f"a zip archive with {names[0][:60]!r} in it", "Unpack it first."
    else:
        return
    raise UserError(path, found, EXPECTED, advice)
