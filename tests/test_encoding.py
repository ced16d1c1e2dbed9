"""All text that is read, written or piped names its encoding: Windows has another by itself."""

import ast
from collections.abc import Iterator

import pytest

from helpers.small import ROOT

PACK = (
    *("adapters", "cli", "common", "demo", "nodes", "training", "worlds"),
    *("benchmarks", "tools"),
)
OTHER_OPENS = {"Image", "av", "os", "lzma", "tarfile", "browser", "webbrowser", "files"}


def left_to_the_machine(tree: ast.AST, line_ends: bool = False) -> Iterator[tuple[int, str]]:
    """(line, expression) of text whose encoding the machine would choose, or its line ends."""
    wanted = _of_writing if line_ends else lambda node: {"encoding"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_text(node):
            named = {word.arg for word in node.keywords}
            if not wanted(node) <= named:
                yield node.lineno, ast.unparse(node.func)


def _is_text(node: ast.Call) -> bool:
    owner, _, name = ast.unparse(node.func).rpartition(".")
    owner = owner.rpartition(".")[2]
    if owner == "subprocess":
        return any(word.arg in ("text", "universal_newlines") for word in node.keywords)
    if name in ("read_text", "write_text"):
        return owner != "files"
    if name in ("NamedTemporaryFile", "TemporaryFile"):
        return _mode(node, 0, "w+b") != "b"
    if name == "fdopen" or (name == "open" and owner not in OTHER_OPENS):
        return _mode(node, 1 if owner in ("", "io", "os") else 0, "r") != "b"
    return False


def _mode(node: ast.Call, place: int, default: str) -> str:
    """ "b" for bytes, else "" ; a mode that is computed is taken for bytes."""
    modes = [word.value for word in node.keywords if word.arg == "mode"]
    modes += node.args[place : place + 1]
    mode = ast.literal_eval(modes[0]) if modes and isinstance(modes[0], ast.Constant) else None
    text = default if not modes else mode
    return "b" if text is None or "b" in text else ""


def _of_writing(node: ast.Call) -> set[str]:
    name = ast.unparse(node.func).rpartition(".")[2]
    mode = [word.value for word in node.keywords if word.arg == "mode"] + node.args
    writes = name == "write_text" or any(ast.unparse(it) in ("'w'", "'a'", "'x'") for it in mode)
    return {"newline"} if writes else set()


def found_in(folders: tuple[str, ...], line_ends: bool) -> dict[str, str]:
    found = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, what in left_to_the_machine(tree, line_ends):
            found[f"{path.relative_to(ROOT).as_posix()}:{line}"] = what
    return found


def test_text_names_its_encoding():
    """Windows would read and write it in the code page of the country."""
    assert found_in((*PACK, "tests"), line_ends=False) == {}


def test_what_the_pack_writes_has_the_same_line_ends_everywhere():
    """``atomic_write_text`` and ``files.append_text`` do that; a test's own files may differ."""
    assert found_in(PACK, line_ends=True) == {}


@pytest.mark.parametrize(
    "text",
    ["open(path)", "open(path, 'w')", "path.open()", "path.open('a')", "path.read_text()",
     "path.write_text(text)", "subprocess.run(command, text=True)", "os.fdopen(number, 'w')",
     "io.open(path)"],
)  # fmt: skip  # as they may be written, several a line
def test_text_without_encoding_is_found(text):
    assert len(list(left_to_the_machine(ast.parse(text)))) == 1


@pytest.mark.parametrize("text", ["path.write_text(a, encoding='utf-8')", "path.open('a')"])
def test_text_without_line_ends_is_found(text):
    assert len(list(left_to_the_machine(ast.parse(text), line_ends=True))) == 1


@pytest.mark.parametrize(
    "text",
    ["open(path, 'rb')", "path.open('ab')", "path.read_text(encoding='utf-8')", "Image.open(path)",
     "subprocess.run(command)", "files.read_text(path)", "os.open(path, flags)"],
)  # fmt: skip  # as they may be written, several a line
def test_bytes_and_named_encodings_are_not(text):
    assert list(left_to_the_machine(ast.parse(text))) == []
