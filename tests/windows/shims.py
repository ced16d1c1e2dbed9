"""What Wine 8 lacks of Windows' own libraries, built from the sources in ``shims``.

A library that imports complex functions gets them from ours: the name of the library that it
imports them from is overwritten in its file, and ours forwards all other names to Wine's.
"""

import re
import subprocess
from pathlib import Path

SOURCES = Path(__file__).with_name("shims")
GCC, OBJDUMP = "x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-objdump"
THEIRS, OURS = b"api-ms-win-crt-math-l1-1-0.dll", b"still-moving-math.dll"  # ours is no longer
_COMPLEX = re.compile(
    r"(cabs|carg|cimag|creal|ca?(?:cos|sin|tan)h?|cexp|clog|conj|cproj|csqrt|cpow)([fl]?)"
)


def build(system32: Path, packages: Path) -> int:
    """Build both libraries into ``system32`` and patch what needs them; how many files that were.

    packages: the folder that Windows' wheels were unpacked into.
    """
    _compile(SOURCES / "bcryptprimitives.c", system32 / "bcryptprimitives.dll", "-ladvapi32")
    imports = {path: names for path in _libraries(packages) if (names := _imports(path))}
    patched = {path for path, names in imports.items() if any(map(_COMPLEX.fullmatch, names))}
    definition = packages / "exports.def"
    wanted = sorted({name for path in patched for name in imports[path]})
    lines = [f"LIBRARY {OURS.decode()}", "EXPORTS", *map(_export, wanted)]
    definition.write_text("\n".join(lines) + "\n", encoding="ascii")
    _compile(SOURCES / "complex.c", system32 / OURS.decode(), str(definition))
    definition.unlink()
    for path in patched:
        data = path.read_bytes()
        path.unlink()  # it may be a hard link into a cache of wheels
        path.write_bytes(data.replace(THEIRS + b"\0", OURS.ljust(len(THEIRS), b"\0") + b"\0"))
    return len(patched)


def _libraries(packages: Path) -> list[Path]:
    files = [path for path in packages.rglob("*") if path.suffix.lower() in (".dll", ".pyd")]
    return [path for path in files if THEIRS + b"\0" in path.read_bytes()]


def _imports(library: Path) -> list[str]:
    """The names that it imports from the library of mathematics."""
    told = subprocess.run(
        [OBJDUMP, "-p", str(library)], check=True, capture_output=True, encoding="latin-1"
    ).stdout
    section = re.search(rf"DLL Name: {re.escape(THEIRS.decode())}\n(.*?)\n\n", told, re.DOTALL)
    return re.findall(r"^\s+[0-9a-f]+\s+\d+\s+(\S+)", section[1], re.MULTILINE) if section else []


def _export(name: str) -> str:
    complex_one = _COMPLEX.fullmatch(name)
    if not complex_one:
        return f"  {name}=ucrtbase.{name}"
    function, size = complex_one.groups()
    return f"  {name}=w_{function}{'f' if size == 'f' else ''}"


def _compile(source: Path, library: Path, *more: str) -> None:
    command = [GCC, "-O2", "-Wall", "-Werror", "-shared", "-static-libgcc", "-s"]
    subprocess.run([*command, "-o", str(library), str(source), *more], check=True)
