"""What ``make card-bundle`` puts beside the tree for a machine without network, and its unpacking.

One folder that git ignores: packages that the machine lacks, ComfyUI and AnimateDiff-Evolved, and
the CPU's latents. ``python benchmarks card.bundle`` makes it; the kit unpacks it where it finds it.
"""

from __future__ import annotations

import argparse
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
PLACE = BENCHMARKS.parent / "card-bundle"
UNPACKED = PLACE / "unpacked"
TRUTH = "latents.safetensors"
MOST = 60 * 2**20  # bytes: what may have to travel with the tree
# What an image for PyTorch is likely to lack, in the versions of this environment. Without torch,
# numpy, transformers, Pillow and the like: those are what makes it such an image.
PACKAGES = (
    "diffusers", "av", "torchsde", "trampoline", "comfy-kitchen", "comfy-aimdo", "blake3",
    "simpleeval", "pydantic", "pydantic_core", "annotated-types", "typing-inspection",
    "alembic", "Mako", "SQLAlchemy", "greenlet",
)  # fmt: skip  # the trainer's and the pack's, then ComfyUI's own
# comfy-kitchen's compiled kernels are half of the bundle; without them it takes PyTorch's.
LEFT_OUT = ("comfy_kitchen/backends/cuda/", "comfy_kitchen/backends/hip/")
# ComfyUI's folders that no part looks into.
UNUSED = (
    "blueprints/",
    "comfy_api_nodes/",
    "tests/",
    "tests-unit/",
    "script_examples/",
    ".github/",
)
TOKENIZERS = "comfy/text_encoders/"  # of other models: most of what a checkout weighs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    home = Path.home() / "comfy"
    comfyui = Path(os.environ.get("COMFYUI_PATH") or home / "ComfyUI")
    parser.add_argument("--comfyui", type=Path, default=comfyui)
    parser.add_argument("--animatediff", type=Path, default=home / "ComfyUI-AnimateDiff-Evolved")
    parser.add_argument("--python", default="3.12", help="version of the machine's Python")
    options = parser.parse_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        pack(PLACE / "site.tar.xz", files_below(packages(Path(folder), options.python)))
    pack(PLACE / "ComfyUI.tar.xz", comfyui_files(options.comfyui))
    if options.animatediff.is_dir():
        pack(PLACE / "ComfyUI-AnimateDiff-Evolved.tar.xz", files_below(options.animatediff))
    # Last, because a bundle is one when it has this.
    truth = [sys.executable, str(BENCHMARKS), "card.graphs", "--mode", "cpu"]
    paths = ["--comfyui", str(options.comfyui), "--truth", str(PLACE / TRUTH)]
    subprocess.run([*truth, *paths], check=True)
    report()


def report() -> None:
    """What was made; ends with an error where it is too large to travel."""
    sizes = {path.name: path.stat().st_size for path in sorted(PLACE.iterdir())}
    for name, size in sizes.items():
        print(f"{size / 2**20:6.1f} MiB  {name}")
    whole = sum(sizes.values())
    print(f"{whole / 2**20:6.1f} MiB in {PLACE.name}")
    if whole > MOST:
        sys.exit(f"More than {MOST / 2**20:.0f} MiB: leave packages out of {Path(__file__).name}")


def packages(folder: Path, python: str) -> Path:
    """Packages for that Python on Linux, unpacked."""
    wheels, site = folder / "wheels", folder / "site"
    named = [f"{name}=={version(name)}" for name in PACKAGES]
    glibc = [17, 24, 27, 28, 31, 34, 35]
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in glibc]
    platforms += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    subprocess.run([*command, *platforms, f"--dest={wheels}", *named], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            wanted = [n for n in archive.namelist() if not left_out(n)]
            archive.extractall(site, wanted)
    return site


def left_out(name: str) -> bool:
    return name.startswith(LEFT_OUT) and ".so" in Path(name).suffixes


def files_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, its name in an archive) of a folder; nothing of git's."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and ".git" not in name.parts and "__pycache__" not in name.parts:
            yield path, name.as_posix()


def comfyui_files(checkout: Path) -> Iterator[tuple[Path, str]]:
    """What ComfyUI needs to run SD1.5: no models, tests, or other models' tokenizers."""
    for path, name in files_below(checkout):
        data = name.startswith(TOKENIZERS) and path.stat().st_size > 2**18
        if not (name.startswith(UNUSED) or data or path.stat().st_size > 2**23):
            yield path, name


def pack(archive: Path, files: Iterator[tuple[Path, str]]) -> None:
    """Everything below a folder that is called as the archive is."""
    folder = archive.name.removesuffix(".tar.xz")
    with (
        lzma.open(archive, "wb", preset=6) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for path, name in files:
            tar.add(path, f"{folder}/{name}")


def unpacked() -> Path | None:
    """The folder with what the bundle brought, unpacked once; None without a bundle.

    Also where this Python has all the packages: the bundle's were made for another machine's.
    """
    if not (PLACE / TRUTH).is_file() or find_spec("diffusers") is not None:
        return None
    if not (UNPACKED / TRUTH).is_file():
        shutil.rmtree(UNPACKED, ignore_errors=True)
        UNPACKED.mkdir()
        for archive in sorted(PLACE.glob("*.tar.xz")):
            with tarfile.open(archive) as tar:
                tar.extractall(UNPACKED, filter="data")
        shutil.copy(PLACE / TRUTH, UNPACKED / TRUTH)
    return UNPACKED
