"""Reading and writing files of named tensors, where nothing in a file can run code."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...common import files, interrupt
from ...common.atomic import atomic_path
from ...common.errors import UserError, lets_go
from .quantized import is_packed
from .torch_files import load_torch, plain, tensors_of

Header = dict[str, tuple[str, tuple[int, ...]]]
_Value = TypeVar("_Value")

EXPECTED = "a file of tensors (.safetensors, .ckpt, .pt, .pth or .bin)"
AGAIN = "Download or copy it again."
HASH_CHUNK = 1 << 22  # bytes
# How Rust's libraries, and torch where it maps a file on Windows, tell a system's number.
_NUMBER = re.compile(r"\(os error (\d+)\)|error code: <(\d+)>")
# What torch's wrappers put into names: data parallel, torch.compile, FSDP, checkpointing.
_MARKS = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
_WRAPPERS = re.compile(rf"^(?:module\.|{_MARKS})+|(?<=\.){_MARKS}")
# Other files that stand where checkpoints do, by their first bytes.
_HEADS = {
    b"GGUF": ("a GGUF file (quantized)", "Use the checkpoint's .safetensors form."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it first."),
    b"Rar!": ("a RAR archive", "Unpack it first."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it first."),
    b"\x89HDF": ("an HDF5 file (of Keras)", "Use the checkpoint's .safetensors form."),
}
# safetensors' names for dtypes, as torch calls them.
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@lets_go
def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a file by name, on the CPU as stored, and the file's metadata.

    The kind of file is told by its content. What trainers and torch wrap weights in (`state_dict`,
    `module.`, `_orig_mod.`) is taken off, and what is no tensor is left out. Tensors of a
    safetensors file may be mapped from the file: they stay valid while it is replaced, not while
    it is overwritten. Raises UserError for a file that is missing, empty, truncated, damaged or of
    another kind.
    """
    path = Path(path)
    if _is_safetensors(path):
        with _reading(path), _mapped(path) as file:
            metadata = file.metadata() or {}
            names = file.keys()  # the file itself cannot be iterated over
            tensors = {name: file.get_tensor(name) for name in names}
    else:
        with _reading(path), files.opened(path) as file:
            tensors = tensors_of(path, load_torch(path, file))
        metadata = {}
    tensors = _unwrapped(tensors)
    if not tensors:
        raise UserError(path, "no tensors in it", EXPECTED, "Choose another file.")
    return tensors, metadata


@lets_go
def read_header(path: Path | str) -> tuple[Header, dict[str, str]]:
    """(dtype, shape) of every tensor by name, and the metadata.

    Reads no tensor data of a safetensors file; a torch file has no header and is read whole.
    """
    path = Path(path)
    if not _is_safetensors(path):
        tensors, metadata = read_tensors(path)
        header = {k: (str(t.dtype).partition(".")[2], tuple(t.shape)) for k, t in tensors.items()}
        return header, metadata
    header = {}
    with _reading(path), _mapped(path) as file:
        names = file.keys()
        for name in names:
            part = file.get_slice(name)
            dtype = part.get_dtype()
            header[name] = (DTYPES.get(dtype, dtype), tuple(part.get_shape()))
        return _unwrapped(header), file.metadata() or {}


def write_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file whole or not at all."""
    path = Path(path)
    stored, own = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        # The format has no place for two tensors that share memory.
        stored[name] = tensor.clone() if pointer in own else tensor
        own.add(pointer)
    try:
        with atomic_path(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # what the user's umask gives any new file
            save_tensors(temporary, stored, metadata)
            temporary.chmod(mode)  # safetensors would keep the file from other users
    except (OSError, SafetensorError) as error:
        raise UserError(
            path,
            f"that it cannot be written ({error})",
            "a folder that exists, may be written to and has room",
            "Choose another folder, or free some space, and save again.",
        ) from error


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that nobody looks at yet. Raises OSError, and never its disguise.

    tensors: contiguous, on the CPU, none sharing memory with another.
    """

    def save() -> None:
        with _as_the_system_said(path):
            save_file(dict(tensors), path, dict(metadata) if metadata else None)

    files.patient(save)


def refuse_non_finite(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError when a tensor holds NaN or infinity, or two numbers in a byte."""
    if packed := next((name for name, tensor in tensors.items() if is_packed(tensor)), None):
        raise UserError(
            path, f"quantized tensors (4 bits, first {packed!r})", "floating-point tensors",
            "Use its form in fp16, bf16, fp32 or fp8.",
        )  # fmt: skip  # file, found, expected, next move
    bad = [name for name, tensor in tensors.items() if not _is_finite(tensor)]
    if bad:
        raise UserError(
            path,
            f"NaN or infinite values in {len(bad)} of {len(tensors)} tensors, first {bad[0]!r}",
            "finite numbers",
            "The file is damaged, or its training diverged: use an earlier or another one.",
        )


def refuse_wrong_names(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    expected: str,
) -> None:
    """Raise UserError unless the tensors have exactly these names and shapes, as floats."""
    found, details = [], []
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes]
    wrong = [k for k in shapes if k in tensors and tuple(tensors[k].shape) != tuple(shapes[k])]
    whole = [k for k in shapes if k in tensors and not tensors[k].is_floating_point()]
    if missing:
        found.append(f"{len(missing)} of {len(shapes)} keys missing, first {missing[0]!r}")
    if unexpected:
        found.append(f"{len(unexpected)} unexpected keys, first {unexpected[0]!r}")
    if wrong:
        shape, right = tuple(tensors[wrong[0]].shape), tuple(shapes[wrong[0]])
        found.append(f"{len(wrong)} wrong shapes, first {wrong[0]!r} {shape}")
        details.append(f", there {right}")
    if whole:
        found.append(f"{tensors[whole[0]].dtype} in {len(whole)} tensors, first {whole[0]!r}")
        details.append(", in floating point")
    if found:
        raise UserError(
            path,
            "; ".join(found),
            expected + "".join(details),
            f"The file is damaged, incomplete or of another kind. {AGAIN}",
        )


def file_hash(path: Path | str) -> str:
    """sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with _reading(Path(path)), files.opened(path) as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
            interrupt.check()
    return digest.hexdigest()


def _is_finite(tensor: Tensor) -> bool:
    interrupt.check()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # fp8 has few operators
        tensor = tensor.float()
    # Both are NaN if any is, and no tensor of booleans is made, as isfinite().all() would.
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)


def _is_safetensors(path: Path) -> bool:
    """Tell the two kinds of file apart by their first bytes; raise UserError for neither."""
    if os.path.isdir(path):  # Path's own raises OSError for a name that is too long
        raise UserError(path, "a folder", EXPECTED, "Choose one file inside it.")
    with _reading(path), files.opened(path) as file:
        head = file.read(9)
    if not head:
        raise UserError(path, "an empty file", EXPECTED, AGAIN)
    if head[8:] == b"{":
        return True
    # A zip archive, or the pickle of a torch older than 1.6.
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return False
    for start, (found, next_move) in _HEADS.items():
        if head.startswith(start):
            raise UserError(path, found, EXPECTED, next_move)
    raise UserError(
        path,
        f"no tensor file (it begins with {head[:8]!r})",
        EXPECTED,
        f"{AGAIN} A web page or a Git LFS pointer saved under this name looks like this.",
    )


def _mapped(path: Path) -> Any:
    """A safetensors file, open: a context manager."""

    def open_it() -> Any:
        with _as_the_system_said(path):
            return safe_open(path, framework="pt", device="cpu")

    return files.patient(open_it)


@contextmanager
def _as_the_system_said(path: Path) -> Iterator[None]:
    """Raise the OSError of what libraries raise in words: "no such file", whatever refused it."""
    try:
        yield
    except (SafetensorError, FileNotFoundError, RuntimeError) as error:
        number = _NUMBER.search(text := str(error))
        if number is not None:
            reason = text[: number.start()].rpartition(": ")[2].strip() or text
            raise files.refusal(int(number[1] or number[2]), reason, path) from error
        if isinstance(error, FileNotFoundError) and os.path.exists(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path)) from error
        raise


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(path, "no such file", EXPECTED, "Check the name and folder.") from error
    except OSError as error:
        raise UserError(
            path, f"that it cannot be read ({error})", EXPECTED, "Check the disk and permissions."
        ) from error
    except UserError:
        raise
    # Damaged bytes can raise nearly anything inside the two readers, KeyError and MemoryError
    # included, and all of it means the same to a person.
    except Exception as error:
        reason = plain(str(error)) or type(error).__name__
        raise UserError(path, f"a damaged or truncated file ({reason})", EXPECTED, AGAIN) from error


def _unwrapped(named: dict[str, _Value]) -> dict[str, _Value]:
    """The same without what wrappers put into names; as it is where two would be one."""
    stripped = {_WRAPPERS.sub("", name): value for name, value in named.items()}
    return stripped if len(stripped) == len(named) else named
