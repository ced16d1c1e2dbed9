"""Small media files of every kind, accidents that befall them, and the law of a build on them."""

import functools
import io
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.heic import box, coded, heic
from still_moving.common.errors import UserError
from still_moving.training.sets.build import CacheOptions, build_set
from still_moving.training.sets.encoders import ShapesEncoder

SIDE, FRAMES = 16, 4
OPTIONS = CacheOptions(width=SIDE, height=SIDE, frames=FRAMES, prompt="red")
many = functools.partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
STILLS = ["still.jpg", "still.png", "still.webp", "still.gif", "still.bmp", "still.tiff"]
STILLS += ["still.avif", "still.heic"]
CLIPS = ["moving.gif", "moving.webp", "moving.mp4", "moving.mov", "moving.webm", "moving.mkv"]
CLIPS += ["moving.avi", "moving.ts"]


def pictures(count):
    dice = np.random.default_rng(0)
    small = dice.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return [Image.fromarray(small[i]).resize((SIDE, SIDE)) for i in range(count)]


@functools.cache
def sample(ending: str) -> bytes:
    """The bytes of a small valid file; none where this PyAV cannot write the codec."""
    kind = ending.removeprefix("still.").removeprefix("moving.")
    frames = pictures(FRAMES + 2)
    buffer = io.BytesIO()
    if ending == "still.heic":
        big = np.asarray(frames[0].resize((64, 64)))
        return heic([coded(big)] * 2, 2, (128, 64), [box("irot", b"\1")])
    if ending.startswith("still."):
        frames[0].save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()))
    elif kind in ("gif", "webp"):
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=40)
    else:
        codec = {"webm": "libvpx", "mkv": "ffv1", "mov": "mpeg4", "mp4": "libx264"}.get(kind, "")
        codec = codec or {"avi": "mpeg4", "ts": "mpeg2video"}[kind]
        if codec not in av.codecs_available:
            return b""
        container_format = {"mkv": "matroska", "ts": "mpegts"}.get(kind, kind)
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
    """Every path below a folder, relative to it, with the bytes of files."""
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
        build_set(place / "in", place / "out", ShapesEncoder(), OPTIONS)
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
        loaded = build_set(place / "in", place / "out", ShapesEncoder(), options)
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
    objects = {f"objects/{item[part]}" for item in listed for part in ("latents", "text")}
    assert {name.replace("\\", "/") for name in names} == objects | {
        "objects",
        "set.json",
        "contact_sheet.png",
    }
    frames = FRAMES if loaded.kind == "clips" else 1
    for item in loaded.items:
        assert item.latents.shape == (frames, 4, SIDE // 8, SIDE // 8)
        assert torch.isfinite(item.latents).all()
    return loaded
