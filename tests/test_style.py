"""The house's own rules, as far as a script can see them: sizes, and reasons for silenced tools."""

import ast
import re
import subprocess

import pytest

from helpers.small import ROOT

MOST_LINES, MOST_IN_A_FUNCTION = 300, 45
SILENCED = re.compile(
    r"# type: ignore(\[[^\]]*\])?|# fmt: skip|# noqa(: [A-Z0-9, ]+)?|# pyright: ignore(\[[^\]]*\])?"
    r"|// @ts-ignore|// eslint-disable\S*( [\w/-]+)?"
)
LIST = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]

pytestmark = pytest.mark.slow  # asks git for the files


def code(*endings: str) -> list:
    names = subprocess.run(
        LIST, capture_output=True, text=True, check=False, encoding="utf-8"
    ).stdout.splitlines()
    paths = [ROOT / name for name in names if name.endswith(endings)]
    if not paths:
        pytest.skip("no git checkout: nothing says which files are the project's")
    return [path for path in paths if path.is_file()]


def test_no_file_is_longer_than_one_idea():
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in code(".py", ".js")}
    assert {path: n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_no_function_is_longer_than_a_screen():
    long = {}
    for path in code(".py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_IN_A_FUNCTION:
                    long[f"{path}: {node.name}"] = lines
    assert long == {}


def test_a_tool_is_silenced_only_with_a_reason():
    bare = []
    for path in code(".py", ".js", ".ts"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = SILENCED.search(line)
            if match and path.name != "test_style.py" and not line[match.end() :].strip(" #/-"):
                bare.append(f"{path}:{number}")
    assert bare == []


def test_the_pack_logs_through_the_one_logger_that_takes_every_name():
    """Another one's message is lost where ComfyUI's output goes to a file on Windows."""
    tests = ROOT / "tests"
    own = [path for path in code(".py") if tests not in path.parents and path.name != "output.py"]
    others = [path for path in own if "getLogger" in path.read_text(encoding="utf-8")]
    assert others == []
