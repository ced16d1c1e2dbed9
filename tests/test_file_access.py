"""The pack touches files through common/files.py, which withstands Windows, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.small import ROOT

SHIPPED = ("adapters", "training", "nodes", "cli", "demo", "worlds")
OF_OS = {"open", "replace", "rename", "renames", "unlink", "remove", "rmdir", "removedirs"}
OF_SHUTIL = {"rmtree", "move", "copy", "copy2", "copyfile", "copytree"}
OF_PATHS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rmdir", "touch"}
OF_PATHS_CALLED = {"open", "rename", "mkdir"}
OF_LIBRARIES = {"open", "safe_open", "save_file", "load_file"}
ALLOWED = {
    "adapters/files/tensors.py: safe_open": "asked with patience, by its own words for refusals",
    "adapters/files/tensors.py: save_file": "the same",
    "adapters/files/tensors.py: temporary.touch": "a name that nobody else has",
    "demo/data.py: av.open": "writes a new file of the demo",
    "demo/emoji/collect.py: Image.open": "bytes in memory",
    "demo/emoji/collect.py: tarfile.open": "what files.opened has opened",
    "demo/emoji/pictures.py: Image.open": "what files.opened has opened",
    "nodes/sets/cached.py: Image.open": "what files.opened has opened",
    "training/sets/keeping.py: av.open": "writes a new file in a folder that is not complete yet",
    "training/sets/pictures.py: Image.open": "what files.opened has opened",
    "training/sets/videos.py: av.open": "asked with patience",
}


def touches(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, expression) of what opens, writes, renames or removes a file by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _always(node):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and _when_called(node):
            yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            taken = {alias.name for alias in node.names} & (OF_OS | OF_SHUTIL)
            yield from ((node.lineno, name) for name in taken)


def _always(node: ast.Attribute) -> bool:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    if owner in ("os", "shutil"):
        return node.attr in (OF_OS if owner == "os" else OF_SHUTIL)
    return owner != "files" and node.attr in OF_PATHS


def _when_called(node: ast.Call) -> bool:
    if isinstance(node.func, ast.Name):
        return node.func.id in OF_LIBRARIES
    if not isinstance(node.func, ast.Attribute) or _always(node.func):
        return False
    if isinstance(node.func.value, ast.Name) and node.func.value.id == "files":
        return False
    alone = len(node.args) == 1 and not node.keywords  # str.replace takes two
    return node.func.attr in OF_PATHS_CALLED or (node.func.attr == "replace" and alone)


def test_files_are_touched_in_one_place():
    found: dict[str, list[int]] = {}
    for path in shipped():
        for line, what in touches(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(f"{path.relative_to(ROOT).as_posix()}: {what}", []).append(line)
    assert {what: lines for what, lines in found.items() if what not in ALLOWED} == {}
    assert ALLOWED.keys() <= found.keys(), "an exception that nothing needs"


def shipped() -> list[Path]:
    paths = [path for folder in SHIPPED for path in sorted((ROOT / folder).rglob("*.py"))]
    return [*paths, ROOT / "__init__.py", ROOT / "__main__.py"]


@pytest.mark.parametrize(
    "code",
    [
        "os.replace(a, b)", "undo(path.unlink)", "path.replace(other)", "open(path)",
        "path.open('rb')", "from os import unlink", "shutil.rmtree(path, True)",
        "(folder / name).write_text(text, encoding='utf-8')", "safe_open(path, 'pt')",
        "path.parent.mkdir()", "Image.open(path)",
    ],
)  # fmt: skip  # as they may be written, several a line
def test_what_touches_files_is_found(code):
    assert len(list(touches(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    ["files.replace(a, b)", "text.replace('a', 'b')", "dataclasses.replace(a, b=1)",
     "files.opened(path)", "files.read_text(path)", "shutil.disk_usage(path)", "os.environ"],
)  # fmt: skip  # as they may be written, several a line
def test_what_does_not_is_not(code):
    assert list(touches(ast.parse(code))) == []
