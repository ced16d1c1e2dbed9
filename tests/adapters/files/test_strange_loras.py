"""Strangers' LoRA files and embeddings, damaged or odd: used, or refused in true words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from helpers.small_files import error_of, shapes_unet
from helpers.strange_loras import CHANGES, cut, drawn_file, flipped, write_drawn
from helpers.under_wine import UNDER_WINE
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.image_lora import merge_image_lora
from still_moving.cli.file_facts import facts_of
from still_moving.common.errors import UserError

UNET = shapes_unet()
READERS: dict[str, Callable[[Path], object]] = {
    "motion": lambda path: load_adapter(path, "motion", pairs_only=False),
    "pairs only": load_adapter,
    "image": lambda path: merge_image_lora(UNET, path),
    "embedding": load_embedding,
    "inspect": facts_of,
}


def read_by_all(path: Path) -> list[str]:
    """What each reader says against a file, in one line that names it."""
    said = []
    for name, read in READERS.items():
        error = error_of(UserError, lambda read=read: read(path))
        if error is not None:
            assert path.name in str(error) or "adapter_config.json" in str(error), (name, error)
            assert "\n" not in str(error)
            said.append(str(error))
    return said


def try_files(folder: Path, seed: int, count: int) -> None:
    """Draw, change and read files; each has a seed of its own, which a failure names."""
    folder.mkdir()
    path = folder / "adapter_model.bin"
    for number in range(count):
        dice = Random(seed * 10**6 + number)
        torch.manual_seed(number)
        for old in folder.iterdir():
            old.unlink()
        drawn = drawn_file(dice)
        names = dice.sample(list(CHANGES), dice.randint(1, 2))
        for name in names:
            CHANGES[name].act(drawn, dice.choice(list(drawn.tensors)), dice)
        write_drawn(path, drawn, dice)
        broken = dice.choice([None, None, None, cut, flipped])
        if broken is flipped and UNDER_WINE:
            broken = cut  # Wine ends a process in which torch finds some faults of an archive
        if broken:
            path.write_bytes(broken(path.read_bytes(), dice))
        said = read_by_all(path)
        if not broken and all(CHANGES[name].whole for name in names):
            assert not any("damaged" in text for text in said), (seed, number, names, said)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told_in_true_words(tmp_path, name):
    for number in range(4):
        dice = Random(number)
        torch.manual_seed(number)
        drawn = drawn_file(dice)
        CHANGES[name].act(drawn, dice.choice(list(drawn.tensors)), dice)
        path = tmp_path / f"{number}.safetensors"
        write_drawn(path, drawn, dice)
        said = read_by_all(path)
        if CHANGES[name].whole:
            assert not any("damaged" in text for text in said)


@pytest.mark.fuzz
@pytest.mark.slow
def test_drawn_files_are_used_or_refused(tmp_path, dice):
    try_files(tmp_path / "files", dice.randrange(10**6), 400)


@pytest.mark.fuzz
@pytest.mark.night
def test_many_more_drawn_files_are_used_or_refused(tmp_path, dice):
    try_files(tmp_path / "files", dice.randrange(10**6) + 1, 2400)
