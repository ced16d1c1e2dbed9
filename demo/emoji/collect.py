"""The emoji world's pictures and clips, from the npm packages that publish them.

Stills in four looks (``stills/<look>/<subject>.webp``, 128x128, RGBA) and the "3d" look in motion
(``clips/<subject>.webp``, 16 frames at 8 a second). Packages, authors and licences are in
worlds/emoji/NOTICE.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from PIL import Image, ImageSequence

from ...common import files
from ...common.atomic import atomic_path
from ...common.errors import UserError
from .subjects import FRAME_MS, FRAMES, HELD_OUT, SIZE, SUBJECTS

STILLS_3D = "@lobehub/fluent-emoji-3d@1.1.0"
CLIPS_3D = tuple(f"@lobehub/fluent-emoji-anim-{n}@1.0.0" for n in (1, 2, 3, 4))
DRAWN = {
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
}
NAMES = DRAWN["noto"]  # has the standard's names of all code points


def collect(folder: Path, subjects: tuple[str, ...] = (*SUBJECTS, *HELD_OUT)) -> None:
    """Fetch every package (0.7 GB, once) and write what the world is made of. Needs npm.

    Pictures that are there already are left alone. Raises UserError without npm.
    """
    if shutil.which("npm") is None:
        raise UserError(
            "npm", "not installed", "Node.js with npm, which fetches the emoji",
            "Install Node.js, or give a folder of emoji.",
        )  # fmt: skip  # subject, found, expected, next move
    with tempfile.TemporaryDirectory() as temporary:
        fetched = Path(temporary)
        codes = _codes(_members(fetched, NAMES), subjects)
        for look, package in DRAWN.items():
            _write_drawn(folder / "stills" / look, _members(fetched, package), codes)
        _write_all(folder / "stills" / "3d", codes, _members(fetched, STILLS_3D), _still)
        for package in CLIPS_3D:
            _write_all(folder / "clips", codes, _members(fetched, package), _clip)


def is_complete(folder: Path, subjects: tuple[str, ...] = (*SUBJECTS, *HELD_OUT)) -> bool:
    """Whether nothing is left to fetch: clips are written last."""
    return all((folder / "clips" / f"{subject}.webp").is_file() for subject in subjects)


def _members(folder: Path, package: str) -> Callable[[], Iterator[tuple[str, bytes]]]:
    """The files of a package as (path, content), one after the other; fetched when first asked."""

    def read() -> Iterator[tuple[str, bytes]]:
        path = folder / f"{package.strip('@').replace('/', '-').replace('@', '-')}.tgz"
        if not path.exists():
            # npm checks what it fetches against the registry's own hash.
            subprocess.run(
                ["npm", "pack", "--silent", "--pack-destination", str(folder), package],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip  # what is run, then how
        with files.opened(path) as file, tarfile.open(fileobj=file) as archive:
            for member in archive:
                if (content := archive.extractfile(member)) is not None:
                    yield member.name.removeprefix("package/"), content.read()

    return read


def _file(members: Callable[[], Iterator[tuple[str, bytes]]], name: str) -> bytes:
    return next(content for path, content in members() if path == name)


def _codes(members, subjects: tuple[str, ...]) -> dict[str, str]:
    """The code point of each subject, in hexadecimal."""
    named = {name: code for code, name in json.loads(_file(members, "chars.json")).items()}
    return {subject: named[subject] for subject in subjects}


def _write_drawn(folder: Path, members, codes: Mapping[str, str]) -> None:
    """Line drawings, as pictures."""
    import resvg_py

    names, icons = (json.loads(_file(members, f"{name}.json")) for name in ("chars", "icons"))
    side = f"0 0 {icons.get('width', 16)} {icons.get('height', 16)}"
    for subject, code in codes.items():
        body = icons["icons"][names[code]]["body"]
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{side}">{body}</svg>'
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)
        _save(folder / f"{subject}.webp", [Image.open(io.BytesIO(bytes(png))).convert("RGBA")])


def _write_all(folder: Path, codes: Mapping[str, str], members, read) -> None:
    """Those subjects whose files are among the members."""
    subjects = {f"assets/{code}.webp": subject for subject, code in codes.items()}
    for path, content in members():
        # Some file names have the variation selector that asks for a picture, others do not.
        if subject := subjects.get(path.replace("-fe0f", "")):
            _save(folder / f"{subject}.webp", read(content))


def _still(content: bytes) -> list[Image.Image]:
    return [_resized(Image.open(io.BytesIO(content)))]


def _clip(content: bytes) -> list[Image.Image]:
    """Its frames at the world's rate, from its beginning; a shorter one starts again."""
    image = Image.open(io.BytesIO(content))
    ends, frames = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(_resized(frame))
        ends.append((ends[-1] if ends else 0) + frame.info.get("duration", 42))
    times = [n * FRAME_MS % ends[-1] for n in range(FRAMES)]
    return [frames[next(i for i, end in enumerate(ends) if end > time)] for time in times]


def _resized(image: Image.Image) -> Image.Image:
    # Premultiplied, so that what is transparent brings no colour to an edge.
    return image.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.LANCZOS).convert("RGBA")


def _save(path: Path, frames: list[Image.Image]) -> None:
    if path.exists():
        return
    files.make_folder(path.parent)
    first, *rest = frames
    with atomic_path(path) as temporary:
        first.save(
            temporary, "WEBP", lossless=True, exact=True,
            save_all=bool(rest), append_images=rest, duration=FRAME_MS, loop=0,
        )  # fmt: skip  # what is written, then how
