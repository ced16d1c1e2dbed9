"""What is connected to Image Set and Clip Set, or named: taken as it is meant, or refused."""

import os

import pytest
import torch
from PIL import Image

from still_moving.adapters.worlds.pixels import ShapesVAE
from still_moving.adapters.worlds.text import load_clip
from still_moving.common.errors import UserError
from still_moving.nodes.sets.folders import ClipSet, ImageSet, resolve_folder
from still_moving.nodes.sets.pictures import whole_pictures
from still_moving.nodes.shared import notices, places

pytestmark = pytest.mark.every_comfyui
INPUTS = {"captions": "red circle left night", "width": 128, "height": 128, "crop": "centre"}


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path / "user")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (128, 128), "red").save(tmp_path / "pictures" / "a.png")
    return tmp_path / "pictures"


def image_set(**inputs):
    return ImageSet.execute(clip=load_clip(), vae=ShapesVAE(), **{"folder": "", **INPUTS, **inputs})


def edits():
    """What an artist may do to a folder between two runs, by name."""

    def write(name, text):
        return lambda folder: (folder / name).write_text(text, encoding="utf-8")

    yield "a caption", write("a.txt", "green star")
    yield "a table", write("metadata.jsonl", '{"file_name": "a.png", "text": "green star"}')
    yield "a picture more", lambda folder: Image.new("RGB", (8, 8)).save(folder / "b.png")
    yield "a picture less", lambda folder: (folder / "a.png").unlink()
    yield "a later time", lambda folder: os.utime(folder / "a.png", (1, 1))


@pytest.mark.parametrize("node", [ImageSet, ClipSet])
@pytest.mark.parametrize(("name", "edit"), list(edits()), ids=lambda it: str(it)[:20])
def test_a_folder_that_was_edited_is_read_again(node, name, edit, folder):
    def asked():
        return node.fingerprint_inputs(folder=str(folder), **INPUTS)

    before = asked()
    assert asked() == before
    edit(folder)
    assert asked() != before, name


def test_a_folder_that_is_not_there_is_asked_for_without_an_error():
    for text in ("", "no such folder", "~nobody/x", "x" * 5000, "\0"):
        assert ImageSet.fingerprint_inputs(folder=text) == ImageSet.fingerprint_inputs(folder=text)
        if text:
            with pytest.raises(UserError, match="no folder"):
                resolve_folder(text)


@pytest.mark.parametrize("name", ["b.png", "b.txt"])
def test_a_link_that_leads_nowhere_is_no_picture(name, folder):
    (folder / name).symlink_to(folder / "gone" / name)
    assert image_set(folder=str(folder))[0].count == 1


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (8, 8, 3), (1, 8, 8, 2), (1, 1, 8, 8, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(UserError, match="images: found a tensor of shape"):
        image_set(images=torch.rand(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(UserError, match="NaN"):
        image_set(images=torch.full((1, 8, 8, 3), value))


def test_grey_is_grey_and_what_is_clear_is_white():
    grey = torch.rand(2, 4, 4, 1)
    assert torch.equal(whole_pictures(grey, "images"), grey.repeat(1, 1, 1, 3))
    half = torch.tensor([0.2, 0.4, 0.6, 0.5]).expand(1, 4, 4, 4)
    assert torch.allclose(whole_pictures(half, "images")[0, 0, 0], torch.tensor([0.6, 0.7, 0.8]))


def test_notes_on_connected_pictures_name_them_by_number():
    notes = image_set(images=torch.rand(2, 32, 32, 3)).ui[notices.NOTES]
    assert notes == [
        "2 files enlarged: number 1 (4.0 times from 32 x 32), number 2 (4.0 times from 32 x 32)"
    ]
