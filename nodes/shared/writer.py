"""Writes weights behind a press of Train: their file takes seconds, and the press shall not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from ...adapters.files.tensors import write_tensors
from ...common import files
from ...common.atomic import atomic_path, atomic_write_text
from ...common.errors import UserError
from ...common.output import log
from ...common.system import exclusive
from ...training.jobs import coming

# One after the other, for the disk's sake. Python waits for its threads when ComfyUI is closed.
_writer = ThreadPoolExecutor(1, thread_name_prefix="still-moving-writer")
_sizes: dict[Path, int] = {}  # bytes of what is yet to be written


def write(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str],
    key: Callable[[Mapping[str, Tensor]], str],
) -> None:  # fmt: skip  # where, what, and how its name is told
    """Write a safetensors file soon; until then ``coming`` knows of it.

    key: gives the file's name by its content, so that weights which somebody changed in place
    meanwhile are not taken for those of the press. Raises UserError where the folder takes no file.
    """
    held = ExitStack()
    try:
        mine = held.enter_context(exclusive(coming.note_of(path)))
    except OSError:  # a disk without locks, on which nobody could tell that it is being written
        write_tensors(path, tensors, metadata)
        return
    if not mine:  # another ComfyUI writes the same
        held.close()
        return
    files.remove(coming.reason_of(path))
    _sizes[path] = sum(tensor.nbytes for tensor in tensors.values())
    _writer.submit(_write, path, tensors, metadata, key, held)


def waiting_bytes() -> int:
    """The room on the disk that is promised and not yet taken."""
    return sum(_sizes.copy().values())


def finish() -> None:
    """Wait until all that was to be written is."""
    _writer.submit(lambda: None).result()


def _write(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str],
    key: Callable[[Mapping[str, Tensor]], str], held: ExitStack,
) -> None:  # fmt: skip  # as above
    with held:
        try:
            with atomic_path(path) as temporary:
                write_tensors(temporary, tensors, metadata)
                if key(tensors) != path.stem:
                    raise UserError(
                        path, "weights that were changed in place while they were written",
                        "those of the press", "Press Train again.",
                    )  # fmt: skip  # file, found, expected, next move
        except Exception as error:  # whatever it is, the job that waits must hear of it
            log.warning("%s", error)
            _say(path, str(error))
        finally:
            _sizes.pop(path, None)
    if path.exists():
        coming.forget(path)


def _say(path: Path, why: str) -> None:
    try:
        atomic_write_text(coming.reason_of(path), f"The model's weights were not written: {why}")
    except OSError:
        log.warning("The reason could not be written beside %s", path)
