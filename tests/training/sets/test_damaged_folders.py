"""Damaged and odd files in a folder: a UserError or success every time, and nothing half done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.damaged_sets import (
    CLIPS,
    OPTIONS,
    STILLS,
    build_or_refuse,
    damage,
    many,
    sample,
    spoil,
    workplace,
)
from still_moving.common.errors import UserError
from still_moving.training.sets.build import CacheOptions
from still_moving.training.sets.media import IMAGES, VIDEOS


@pytest.mark.parametrize("kind", [*STILLS, *CLIPS])
def test_the_samples_are_valid(kind):
    if not sample(kind):
        pytest.skip("this PyAV cannot write the codec")
    with workplace() as place:
        (place / "in" / f"a.{kind.split('.')[1]}").write_bytes(sample(kind))
        loaded = build_or_refuse(place)
        assert loaded is not None
        assert len(loaded.items) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*STILLS, *CLIPS])
@given(damage, st.booleans())
@many(max_examples=45)
def test_a_damaged_file_is_refused_or_read(kind, accident, skip):
    if not sample(kind):
        pytest.skip("this PyAV cannot write the codec")
    with workplace() as place:
        spoiled = spoil(sample(kind), *accident)
        (place / "in" / f"bad.{kind.split('.')[1]}").write_bytes(spoiled)
        other = sample("still.png" if kind in STILLS else "moving.gif")
        (place / "in" / ("good.png" if kind in STILLS else "good.gif")).write_bytes(other)
        options = CacheOptions(**{**OPTIONS.to_json(), "skip_unreadable": skip})
        loaded = build_or_refuse(place, options)
        if loaded is not None:
            assert any(item.source.startswith("good") for item in loaded.items)


@given(
    st.sampled_from([*STILLS, *CLIPS]),
    st.sampled_from([*IMAGES, *VIDEOS]),
    st.sampled_from(["auto", "stills", "clips"]),
    st.booleans(),
)
@many(max_examples=60)
def test_a_wrong_ending_is_refused_or_read(kind, ending, wanted, upper):
    with workplace() as place:
        name = f"a{ending.upper() if upper else ending}"
        (place / "in" / name).write_bytes(sample(kind))
        build_or_refuse(place, CacheOptions(**{**OPTIONS.to_json(), "kind": wanted}))


@pytest.mark.slow
@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode())),
    st.none() | st.text(max_size=20),
)
@many(max_examples=150)
def test_any_caption_is_kept_or_refused(caption, prompt):
    with workplace() as place:
        (place / "in" / "a.png").write_bytes(sample("still.png"))
        (place / "in" / "a.txt").write_bytes(caption)
        try:
            options = CacheOptions(**{**OPTIONS.to_json(), "prompt": prompt})
        except UserError:
            assert not prompt.strip()
            return
        loaded = build_or_refuse(place, options)
        if loaded is not None:
            written = caption.decode("utf-8-sig").strip()
            assert loaded.items[0].caption == (written or prompt.strip())


letters = st.text(
    st.characters(codec="utf-8", exclude_characters='/\\\0<>:"|?*', exclude_categories=("Cc",)),
    min_size=1,
    max_size=20,
)


@pytest.mark.slow
@given(st.lists(letters | st.sampled_from([" a b ", "é", "猫", "a.b", "%s", "-o"]), max_size=3))
@many(max_examples=80)
def test_any_file_name_works(names):
    with workplace() as place:
        wanted = {f"{name}.png" for name in names if not name.startswith(".")}
        for name in names:
            (place / "in" / f"{name}.png").write_bytes(sample("still.png"))
        loaded = build_or_refuse(place)
        sources = set() if loaded is None else {item.source for item in loaded.items}
        assert sources == wanted


def test_a_file_name_that_is_no_unicode_works_or_is_refused(tmp_path):
    for kind in ("still.png", "moving.mkv"):
        with workplace() as place:
            name = b"\xff\xfe." + kind.split(".")[1].encode()
            try:
                (place / "in" / name.decode("utf-8", "surrogateescape")).write_bytes(sample(kind))
            except (OSError, UnicodeError):
                pytest.skip("this system's file names are all Unicode")
            assert build_or_refuse(place) is not None
