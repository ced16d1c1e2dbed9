"""Damaged sets: refused or intact, and mended by the next build."""

import json
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.damaged_sets import (
    build_or_refuse,
    damage,
    good_set,
    many,
    sample,
    snapshot,
    spoil,
    workplace,
)
from still_moving.common.errors import UserError
from still_moving.training.sets.store import SetWriter, load_set


@pytest.mark.slow
@given(st.integers(0, 4), st.just(("unlink",)) | damage)
@many(max_examples=150)
def test_a_damaged_set_is_refused_or_intact_and_can_be_mended(index, accident):
    with workplace() as place:
        whole = load_set(place / "out")
        files = [path for path, content in good_set().items() if content is not None]
        path = place / "out" / sorted(files)[index]
        if accident == ("unlink",):
            path.unlink()
        else:
            path.write_bytes(spoil(path.read_bytes(), *accident))
        before = snapshot(place)
        try:
            read = load_set(place / "out")
        except UserError:
            assert path.suffix != ".png"  # nobody reads the picture
        else:
            if path.suffix == ".safetensors":
                for one, other in zip(read.items, whole.items, strict=True):
                    assert torch.equal(one.latents, other.latents)
                    assert torch.equal(one.text, other.text)
        assert snapshot(place) == before
        (place / "in" / "old.png").write_bytes(sample("still.png"))
        (place / "in" / "other.png").write_bytes(sample("still.jpg"))
        mended = build_or_refuse(place)
        assert mended is not None
        assert [item.id for item in mended.items] == [item.id for item in whole.items]
        # A picture is not checked by a checksum; only an absent one is drawn again.
        for name, content in good_set().items():
            if content is not None and name.suffix != ".png":
                now = (place / "out" / name).read_bytes()
                assert now == content or json.loads(now) == json.loads(content)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
) | st.sampled_from(["../../etc/passwd", "../set.json", "0" * 64 + ".safetensors", -1, 0, 10**30])


@pytest.mark.slow
@given(st.data(), anything)
@many(max_examples=200)
def test_a_set_file_with_any_field_changed_is_refused_or_read(data, value):
    with workplace() as place:
        path = place / "out" / "set.json"
        manifest = json.loads(path.read_bytes())
        where = data.draw(st.sampled_from([manifest, *manifest["items"]]))
        key = data.draw(st.sampled_from([*where, "more"]))
        if data.draw(st.booleans()):
            where.pop(key, None)
        else:
            where[key] = value
        path.write_text(json.dumps(manifest), encoding="utf-8")
        try:
            read = load_set(place / "out")
        except UserError as error:
            line = str(error)
        else:
            line = None
        if line is not None:
            assert str(place) in line
            return
        assert read.kind in ("stills", "clips")
        for item in read.items:
            assert isinstance(item.caption, str)
            assert item.latents.shape == (1, 4, 2, 2)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "NaN", "{}", "[]", '{"format": 2}', '"x"'])
def test_a_set_file_that_is_no_set_is_refused(text):
    with workplace() as place:
        (place / "out" / "set.json").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"set\.json"):
            load_set(place / "out")


def test_a_missing_set_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="cache command"):
        load_set(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cache command"):
        load_set(tmp_path / "file")


def test_an_object_of_another_item_is_noticed():
    """Swapped files have valid checksums; their shapes or names give them away."""
    with workplace() as place:
        items = json.loads((place / "out" / "set.json").read_bytes())["items"]
        objects = place / "out" / "objects"
        (objects / items[0]["latents"]).write_bytes((objects / items[0]["text"]).read_bytes())
        with pytest.raises(UserError, match="expected latents"):
            load_set(place / "out")


def test_a_folder_that_appears_half_way_is_taken_back(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), SetWriter(tmp_path / "file" / "a" / "b"):
        raise AssertionError("not reached")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
