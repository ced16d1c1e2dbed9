"""The card's library, built by gcc where it is not yet; or why it cannot be built here.

Nothing here imports torch: the library has to be in the process before torch is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

FOR_TORCH = "2.11"  # its dispatcher, its kernels' names and the CUDA functions that it calls
SOURCES = Path(__file__).parent / "source"
HEADERS = ("nvidia/cu13/include", "triton/backends/nvidia/include")  # of wheels that torch brings
FLAGS = ("-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter")
NAME = "-Wl,-soname,libcuda.so.1"  # so that whoever asks for the driver finds it loaded


def why_not() -> str:
    """Why this machine cannot have the card; empty where it can, and then the library is built."""
    if not sys.platform.startswith("linux"):
        return f"it is made for Linux, this is {sys.platform}"
    torch, version = installed_torch()
    if not version:
        return "torch is not installed"
    if not (torch / "lib" / "libtorch_cuda.so").is_file():
        return f"torch {version} has no CUDA half"
    if not version.startswith(f"{FOR_TORCH}."):
        return f"it is written for torch {FOR_TORCH}, here is {version}"
    if shutil.which("gcc") is None:
        return "gcc is not installed"
    missing = [folder for folder in HEADERS if not (torch.parent / folder).is_dir()]
    if missing:
        return f"CUDA's headers are not beside torch ({', '.join(missing)})"
    return library()[1]


def installed_torch() -> tuple[Path, str]:
    """(its folder, its version with what it was built for); an empty version where it is not."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return Path(), ""
    folder = Path(spec.origin).parent
    text = (folder / "version.py").read_text(encoding="utf-8")
    found = re.search(r"__version__ = '(.+)'", text)
    return folder, found[1] if found else ""


@cache
def library() -> tuple[Path, str]:
    """(the built library, gcc's complaint if there was one)."""
    torch, version = installed_torch()
    sources = sorted(SOURCES.glob("*.[ch]"))
    known = hashlib.sha256(" ".join([version, *FLAGS, NAME]).encode())
    for path in sources:
        known.update(path.read_bytes())
    made = cache_folder() / known.hexdigest()[:16] / "libcard.so"
    if made.is_file():
        return made, ""
    made.parent.mkdir(parents=True, exist_ok=True)
    begun = made.with_name(f"{os.getpid()}.so")
    include = [f"-I{torch.parent / folder}" for folder in HEADERS]
    files = [str(path) for path in sources if path.suffix == ".c"]
    command = ["gcc", *FLAGS, NAME, *include, *files, "-o", str(begun), "-lpthread", "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        return made, f"gcc cannot build it: {(lines or ['no word why'])[0]}"
    begun.replace(made)  # whole for everyone who looks
    return made, ""


def cache_folder() -> Path:
    """Where libraries are kept: in the virtual environment, or in the user's cache."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "pretended-card"
    return Path.home() / ".cache" / "still-moving" / "pretended-card"
