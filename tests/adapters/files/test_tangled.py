"""Files of torch whose parts stand in several places, in themselves, or beyond what is stored."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.image_lora import read_image_lora
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import read_tensors
from still_moving.cli.inspect import describe
from still_moving.common.errors import UserError

READERS = (read_unet, read_motion_module, load_adapter, read_image_lora, load_embedding, describe)
WEIGHT = torch.ones(2, 3)


def in_itself(own: dict[str, Any]) -> dict[str, Any]:
    own["state_dict"] = own
    return own


def in_each_other() -> dict[str, Any]:
    first: dict[str, Any] = {"w": WEIGHT}
    first["state_dict"] = {"model": first}
    return first


def doubled(times: int, part: Any, twice: Any) -> Any:
    for _ in range(times):
        part = twice(part)
    return part


WHOLE = {
    "in itself": in_itself({"w": WEIGHT}),
    "in each other": in_each_other(),
    "lists in several places": doubled(3, [WEIGHT, *range(900)], lambda part: [part] * 900),
    "expanded a little": {"w": torch.ones(1, 3).expand(2, 3)},
}
WITHOUT = {
    "in itself, and empty": in_itself({"step": 1}),
    "dictionaries, each twice": doubled(
        40, {"step": 1}, lambda part: {"state_dict": part, "b": part}
    ),
    "deep": doubled(200, {"step": 1}, lambda part: {"model": part}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_part_in_several_places_is_read_once(tmp_path, name):
    torch.save(WHOLE[name], tmp_path / "a.pt")
    began = time.process_time()
    (tensor,) = read_tensors(tmp_path / "a.pt")[0].values()
    assert torch.equal(tensor, WEIGHT)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", WITHOUT)
def test_parts_without_tensors_end(tmp_path, name):
    torch.save(WITHOUT[name], tmp_path / "a.pt")
    with pytest.raises(UserError, match="no tensors in it"):
        read_tensors(tmp_path / "a.pt")


def test_what_would_grow_far_beyond_the_file_is_refused(tmp_path):
    names = {str(i): WEIGHT for i in range(2000)}
    for content in (
        {"w": torch.ones(1).expand(2**20, 2**20)},
        {"w": [torch.ones(1).expand(2**40)]},
        {str(i): names for i in range(2000)},
    ):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(UserError, match="out of parts that are stored once"):
            read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("read", READERS)
def test_a_name_that_is_too_long_is_a_missing_file(tmp_path, read):
    with pytest.raises(UserError, match=r"cannot be read|no such file"):
        read(tmp_path / ("x" * 300))
