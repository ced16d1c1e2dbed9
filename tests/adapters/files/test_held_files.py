"""A file that was read or refused can be replaced at once, and refusals of an instant pass.

Windows replaces and removes no file that somebody has open, or has tensors mapped from.
"""

import errno
import gc
import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from helpers.like_windows import refuse_once
from helpers.mapped import is_kept, shut
from helpers.small_files import (
    MODULE_SHAPES,
    PREFIX,
    UNET_SHAPES,
    error_of,
    motion_adapter,
    random_tensors,
    shapes_unet,
)
from still_moving.adapters.files import tensors
from still_moving.adapters.files.adapter import load_adapter, save_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.embedding import Embedding, load_embedding, save_embedding
from still_moving.adapters.files.image_lora import merge_image_lora, save_image_lora
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.motion_weights import (
    MotionWeights,
    MotionWeightsInfo,
    load_motion_weights,
    save_motion_weights,
)
from still_moving.adapters.low_rank import LowRank
from still_moving.common import files
from still_moving.common.errors import UserError
from still_moving.training.sets import decode
from still_moving.training.sets.store import OBJECTS, SetWriter, object_name, read_object
from still_moving.training.text.clip import read_clip_text

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="lists nothing that is mapped")
STRANGE = {"strange": torch.ones(5000)}


def merge_into_shapes(path: Path) -> object:
    return merge_image_lora(shapes_unet(), path)


READERS = {
    "adapter": load_adapter,
    "motion weights": load_motion_weights,
    "embedding": load_embedding,
    "UNet": read_unet,
    "motion module": read_motion_module,
    "image LoRA": merge_into_shapes,
    "CLIP": lambda path: read_clip_text(path, None),
    "object": lambda path: read_object(path.parent.parent, path.name, "latents"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_another_file_takes_the_place_of_a_refused_one_while_the_error_is_shown(
    tmp_path, reader, kind
):
    path = tmp_path / OBJECTS / f"x.{kind}"
    path.parent.mkdir()
    if kind == "ckpt":
        torch.save(STRANGE, path)
    else:
        tensors.write_tensors(path, STRANGE, {})
    gc.disable()  # an error is in no circle that only the collector would see
    try:
        error = error_of(UserError, lambda: READERS[reader](path))
        assert error is not None
        assert not is_kept(path)
    finally:
        gc.enable()


def test_what_is_mapped_is_seen(tmp_path):
    """Or the law above would say nothing."""
    path = tmp_path / "x.safetensors"
    tensors.write_tensors(path, STRANGE, {})
    read = tensors.read_tensors(path)
    assert is_kept(path)
    del read
    assert not is_kept(path)
    with path.open("rb"):
        assert is_kept(path)
    tensors.read_header(path)
    tensors.file_hash(path)
    assert not is_kept(path)


def write_weights(path: Path) -> None:
    info = MotionWeightsInfo(form="difference", sites="temporal")
    some = random_tensors(dict(list(MODULE_SHAPES.items())[:1]))
    save_motion_weights(path, MotionWeights(info, some))


def write_image_lora(path: Path) -> None:
    pair = LowRank(torch.ones(2, 64), torch.ones(64, 2))
    layer = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    save_image_lora(path, {layer: pair}, shapes_unet().layout, {})


WRITERS = {
    "adapter": lambda path: save_adapter(path, motion_adapter()),
    "motion weights": write_weights,
    "embedding": lambda path: save_embedding(path, Embedding(torch.ones(2, 64))),
    "image LoRA": write_image_lora,
    "UNet": lambda path: tensors.write_tensors(
        path, {f"{PREFIX}{k}": t for k, t in random_tensors(UNET_SHAPES).items()}, {}
    ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_read_for_long_is_no_longer_the_files(tmp_path, kind):
    """Training writes adapters anew that ComfyUI has loaded; a checkpoint it never writes."""
    path = tmp_path / "x.safetensors"
    WRITERS[kind](path)
    read = READERS[kind](path)
    assert is_kept(path) == (kind == "UNet"), read
    del read
    assert not is_kept(path)


def test_an_object_of_a_set_can_be_written_anew_while_it_is_used(tmp_path):
    with SetWriter(tmp_path) as writer:
        writer.add("0" * 64, "latents", torch.ones(3))
        read = read_object(tmp_path, object_name("0" * 64), "latents")
        assert not is_kept(tmp_path / OBJECTS / object_name("0" * 64)), read


@pytest.mark.slow
@pytest.mark.skipif(os.name != "nt", reason="elsewhere nobody can have a file alone")
def test_a_file_that_somebody_has_alone_is_waited_for(tmp_path):
    path, picture = tmp_path / "x.safetensors", tmp_path / "x.png"
    tensors.write_tensors(path, STRANGE, {})
    Image.new("RGB", (8, 8)).save(picture)
    for touched, act in (
        (path, lambda: tensors.read_tensors(path)),
        (path, lambda: tensors.read_header(path)),
        (path, lambda: tensors.file_hash(path)),
        (path, lambda: tensors.write_tensors(path, STRANGE, {})),
        (path, lambda: tensors.save_tensors(path, STRANGE)),
        (picture, lambda: decode.survey(picture, False)),
        (path, lambda: files.remove(path)),
    ):
        shut(touched, 0.4)
        act()


REFUSALS = (
    FileNotFoundError('No such file or directory: "x"'),  # safe_open's word for any refusal
    SafetensorError("Error while serializing: I/O error: It is in use. (os error 32)"),
    RuntimeError("could not open file <x> in read-write mode; error code: <5>"),  # torch's
)


@pytest.mark.usefixtures("like_windows")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_libraries_tell_in_words_is_outlasted_too(tmp_path, monkeypatch, refusal):
    path = tmp_path / "x.safetensors"
    if not isinstance(refusal, FileNotFoundError):
        refuse_once(monkeypatch, tensors, "save_file", refusal, refusal)
    tensors.write_tensors(path, STRANGE, {})
    refuse_once(monkeypatch, tensors, "safe_open", refusal, refusal)
    assert torch.equal(tensors.read_tensors(path)[0]["strange"], STRANGE["strange"])
    refuse_once(monkeypatch, tensors, "safe_open", refusal, refusal)
    assert list(tensors.read_header(path)[0]) == ["strange"]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_file_that_nobody_may_read_is_not_said_to_be_missing(tmp_path, monkeypatch, refusal):
    path = tmp_path / "x.safetensors"
    tensors.write_tensors(path, STRANGE, {})
    monkeypatch.setattr(files, "WINDOWS", False)  # where no refusal passes
    refuse_once(monkeypatch, tensors, "safe_open", refusal)
    with pytest.raises(UserError, match="cannot be read"):
        tensors.read_tensors(path)


def test_a_full_disk_is_no_damaged_file(tmp_path, monkeypatch):
    number = 112 if os.name == "nt" else errno.ENOSPC
    words = f"Error while serializing: I/O error: No space left on device (os error {number})"
    refuse_once(monkeypatch, tensors, "save_file", SafetensorError(words))
    with pytest.raises(OSError, match="No space left") as error:
        tensors.save_tensors(tmp_path / "x", STRANGE)
    assert error.value.errno == errno.ENOSPC


def test_what_safetensors_itself_refuses_passes_through(tmp_path):
    shared = torch.ones(4)
    with pytest.raises(RuntimeError, match="share"):
        tensors.save_tensors(tmp_path / "x", {"a": shared, "b": shared})
