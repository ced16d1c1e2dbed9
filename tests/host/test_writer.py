"""Weights that are written behind a press: the press is over first, and nothing wrong is kept."""

from threading import Event

import pytest
import torch

from helpers.host import world
from still_moving.adapters.files.checkpoint import read_unet
from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.sets.generate import GenerateImages
from still_moving.nodes.shared import baking, places, writer
from still_moving.training.jobs import coming

pytestmark = pytest.mark.every_comfyui


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    yield tmp_path
    writer.finish()


class Gate(Event):
    """Holds the writer back until it is set; ``written`` has what it wrote."""

    def __init__(self):
        super().__init__()
        self.written = []


@pytest.fixture
def slow(monkeypatch):
    gate, write = Gate(), writer.write_tensors

    def waits(path, *more):
        assert gate.wait(60)
        write(path, *more)
        gate.written.append(path)

    monkeypatch.setattr(writer, "write_tensors", waits)
    yield gate
    gate.set()
    writer.finish()


def test_the_press_does_not_wait_for_the_file(slow):
    model = world.plain()
    baked = baking.bake(model)
    assert coming.is_coming(baked)
    assert not baked.exists()
    assert baking.bake(model) == baking.bake(world.plain()) == baked
    slow.set()
    writer.finish()
    assert len(slow.written) == 1
    assert [path.name for path in baked.parent.iterdir()] == [baked.name]
    own = dict(baking.effective_unet(model))
    read = read_unet(baked).tensors
    assert all(torch.equal(read[name], own[name]) for name in own)


def test_a_set_to_be_drawn_is_there_while_its_weights_are_written(slow):
    planned = GenerateImages.planned(
        model=world.plain(), clip=load_clip(), vae=ShapesVAE(), prompts="red circle", token="",
        class_word="", count=1, negative="", seed=1, steps=2, cfg=2.0, sampler_name="euler",
        scheduler="normal", width=128, height=128,
    )  # fmt: skip  # many short values, several a line
    assert not any(file.exists() for file in planned.files)
    assert planned.is_there()  # else its node would run at every press


def test_weights_that_change_meanwhile_are_not_taken_for_the_press(slow):
    model = world.plain()
    baked = baking.bake(model)
    weight = model.model.state_dict()["diffusion_model.time_embed.0.weight"]
    before = weight.clone()
    weight.add_(1)  # as no patch of ComfyUI does
    slow.set()
    writer.finish()
    weight.copy_(before)
    assert not baked.exists()
    assert "changed in place" in coming.failure(baked)


def test_what_cannot_be_written_is_told_and_asked_for_again(monkeypatch):
    model, write = world.plain(), writer.write_tensors

    def refuse(path, *_):
        raise UserError(path, "no room", "some", "Free some space.")

    monkeypatch.setattr(writer, "write_tensors", refuse)
    baked = baking.bake(model)
    writer.finish()
    assert "found no room" in coming.failure(baked)
    monkeypatch.setattr(writer, "write_tensors", write)
    assert baking.bake(model) == baked
    writer.finish()
    assert not coming.failure(baked)
    assert [path.name for path in baked.parent.iterdir()] == [baked.name]


def test_what_is_promised_to_the_disk_is_not_free(slow):
    free = baking._free(places.root())
    baking.bake(world.plain())
    promised = writer.waiting_bytes()
    assert promised == sum(w.nbytes for _, w in baking.effective_unet(world.plain()))
    assert baking._free(places.root()) <= free - promised + 2**20
    slow.set()
    writer.finish()
    assert not writer.waiting_bytes()
