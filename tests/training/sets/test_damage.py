"""Damaged folders and sets: a UserError or success every time, and nothing half done."""

import functools
import io
import json
import string
import tempfile
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from still_moving.common.errors import UserError
from still_moving.training.sets.build import CacheOptions, build_set
from still_moving.training.sets.encoders import ShapesEncoder
from still_moving.training.sets.media import IMAGES, VIDEOS
from still_moving.training.sets.store import SetWriter, load_set

SIDE, FRAMES = 16, 4
OPTIONS = CacheOptions(width=SIDE, height=SIDE, frames=FRAMES, prompt="red")
many = functools.partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def pictures(count):
    dice = np.random.default_rng(0)
    small = dice.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return [Image.fromarray(small[i]).resize((SIDE, SIDE)) for i in range(count)]


@functools.cache
def sample(ending):
    """The bytes of a small valid file; None where this PyAV cannot write the codec."""
    kind = ending.removeprefix("still.").removeprefix("moving.")
    frames = pictures(FRAMES + 2)
    buffer = io.BytesIO()
    if ending.startswith("still."):
        frames[0].save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()))
    elif kind in ("gif", "webp"):
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=40)
    else:
        codec = {"webm": "libvpx", "mkv": "ffv1", "mov": "mpeg4", "mp4": "libx264"}[kind]
        if codec not in av.codecs_available:
            return None
        container_format = "matroska" if kind == "mkv" else kind
        with av.open(buffer, "w", format=container_format) as container:
            stream = container.add_stream(codec, rate=25)
            stream.width = stream.height = SIDE
            stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_image(frame)))
            container.mux(stream.encode())
    return buffer.getvalue()


places = st.integers(0, 2**16)
damage = st.one_of(
    st.tuples(st.just("cut"), places),
    st.tuples(st.just("drop"), places, st.integers(1, 40)),
    st.tuples(st.just("zero"), places, st.integers(1, 40)),
    st.tuples(st.just("pad"), st.binary(min_size=1, max_size=32)),
    st.tuples(st.just("noise"), st.binary(max_size=64)),
    st.tuples(st.just("empty")),
    st.tuples(
        st.just("flip"),
        st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=6),
    ),
)


def spoil(data, how, *details):
    """Bytes after one accident. Places are taken modulo the length."""
    if how in ("empty", "noise"):
        return details[0] if details else b""
    if how == "pad":
        return data + details[0]
    if how == "flip":
        spoiled = bytearray(data)
        for place, value in details[0]:
            spoiled[place % len(data)] ^= value
        return bytes(spoiled)
    start = details[0] % len(data)
    if how == "cut":
        return data[:start]
    end = min(start + details[1], len(data))
    return data[:start] + (bytes(end - start) if how == "zero" else b"") + data[end:]


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@functools.cache
def good_set():
    """The files of a valid set, to be there before each damaged build."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "in").mkdir()
        (place / "in" / "old.png").write_bytes(sample("still.png"))
        (place / "in" / "other.png").write_bytes(sample("still.jpg"))
        build_set(place / "in", place / "out", ShapesEncoder(), OPTIONS, False)
        return snapshot(place / "out")


@contextmanager
def workplace():
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "in").mkdir()
        for path, data in good_set().items():
            target = place / "out" / path
            if data is None:
                target.mkdir(parents=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        yield place


def build_or_refuse(place, options=OPTIONS):
    """The law: a whole set, or a UserError and everything as it was. Returns the set or None."""
    before = snapshot(place)
    try:
        made = build_set(place / "in", place / "out", ShapesEncoder(), options, False)
    except UserError as error:
        line = str(error)
    else:
        line = None
    if line is not None:
        assert len(line.splitlines()) == 1
        assert snapshot(place) == before
        return None
    after = snapshot(place)
    outside = {path for path in {*before, *after} if path.parts[0] != "out"}
    assert {path: after.get(path) for path in outside} == {
        path: before.get(path) for path in outside
    }
    names = {str(path.relative_to("out")) for path in after if path.parts[0] == "out"} - {"."}
    listed = json.loads((place / "out" / "set.json").read_bytes())["items"]
    objects = {f"objects/{item[what]}" for item in listed for what in ("latents", "text")}
    assert {name.replace("\\", "/") for name in names} == objects | {
        "objects",
        "set.json",
        "contact_sheet.png",
    }
    frames = FRAMES if made.kind == "clips" else 1
    for item in made.items:
        assert item.latents.shape == (frames, 4, SIDE // 8, SIDE // 8)
        assert torch.isfinite(item.latents).all()
    return made


STILLS = ["still.jpg", "still.png", "still.webp", "still.gif"]
CLIPS = ["moving.gif", "moving.webp", "moving.mp4", "moving.mov", "moving.webm", "moving.mkv"]


@pytest.mark.parametrize("kind", [*STILLS, *CLIPS])
def test_the_samples_are_valid(kind):
    if sample(kind) is None:
        pytest.skip("this PyAV cannot write the codec")
    with workplace() as place:
        (place / "in" / f"a.{kind.split('.')[1]}").write_bytes(sample(kind))
        assert len(build_or_refuse(place).items) == 1


@pytest.mark.parametrize("kind", [*STILLS, *CLIPS])
@given(damage, st.booleans())
@many(max_examples=45)
def test_a_damaged_file_is_refused_or_read(kind, accident, skip):
    if sample(kind) is None:
        pytest.skip("this PyAV cannot write the codec")
    with workplace() as place:
        spoiled = spoil(sample(kind), *accident)
        (place / "in" / f"bad.{kind.split('.')[1]}").write_bytes(spoiled)
        other = sample("still.png" if kind in STILLS else "moving.gif")
        (place / "in" / ("good.png" if kind in STILLS else "good.gif")).write_bytes(other)
        options = CacheOptions(**{**OPTIONS.to_json(), "skip_unreadable": skip})
        made = build_or_refuse(place, options)
        if made is not None:
            assert any(item.source.startswith("good") for item in made.items)


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
        (place / "in" / name).write_bytes(sample(kind) or b"")
        build_or_refuse(place, CacheOptions(**{**OPTIONS.to_json(), "kind": wanted}))


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
        made = build_or_refuse(place, options)
        if made is not None:
            written = caption.decode("utf-8-sig").strip()
            assert made.items[0].caption == (written or prompt.strip())


letters = st.text(
    st.characters(codec="utf-8", exclude_characters='/\\\0<>:"|?*', exclude_categories=("Cc",)),
    min_size=1,
    max_size=20,
)


@given(st.lists(letters | st.sampled_from([" a b ", "é", "猫", "a.b", "%s", "-o"]), max_size=3))
@many(max_examples=80)
def test_any_file_name_works(names):
    with workplace() as place:
        wanted = {f"{name}.png" for name in names if not name.startswith(".")}
        for name in names:
            (place / "in" / f"{name}.png").write_bytes(sample("still.png"))
        made = build_or_refuse(place)
        found = set() if made is None else {item.source for item in made.items}
        assert found == wanted


def test_a_file_name_that_is_no_unicode_works_or_is_refused(tmp_path):
    for kind in ("still.png", "moving.mkv"):
        with workplace() as place:
            name = b"\xff\xfe." + kind.split(".")[1].encode()
            try:
                (place / "in" / name.decode("utf-8", "surrogateescape")).write_bytes(sample(kind))
            except (OSError, UnicodeError):
                pytest.skip("this system's file names are all Unicode")
            assert build_or_refuse(place) is not None


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
        assert [item.id for item in mended.items] == [item.id for item in whole.items]
        # A picture is not checked by a checksum; only an absent one is drawn again.
        for name, content in good_set().items():
            if content is not None and name.suffix != ".png":
                found = (place / "out" / name).read_bytes()
                assert found == content or json.loads(found) == json.loads(content)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
) | st.sampled_from(["../../etc/passwd", "../set.json", "0" * 64 + ".safetensors", -1, 0, 10**30])


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
        path.write_text(json.dumps(manifest))
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
        (place / "out" / "set.json").write_text(text)
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
