"""The pack as a whole: loading it loads nothing, and its folder may have any name."""

import ast
import shutil
import subprocess

import pytest

from helpers.imports import loaded_by
from helpers.small import ROOT, command, environment

pytestmark = pytest.mark.slow


def test_the_root_imports_nothing():
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    assert loaded_by() == set()


def test_help_needs_nothing_heavy():
    assert loaded_by("cli") == set()


@pytest.mark.slow
def test_the_folder_may_have_any_name(tmp_path):
    away = shutil.ignore_patterns("weights", "out", ".*", "__pycache__", "tests", "web")
    root = tmp_path / "ComfyUI-Still Moving (2)"
    shutil.copytree(ROOT, root, ignore=away)
    process = subprocess.run(
        command("inspect", "--json", tmp_path / "none", root=root),
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        encoding="utf-8",
    )
    assert process.returncode == 2
    assert process.stderr.startswith("error: ")
    assert len(process.stderr.splitlines()) == 1
