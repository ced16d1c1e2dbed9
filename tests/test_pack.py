"""The pack as a whole: who imports what, and that its folder may have any name."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small import ROOT, command, environment

FOLDERS = ("common", "worlds", "adapters", "training", "cli", "demo", "nodes")
CODE = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
CODE += [ROOT / "__init__.py", ROOT / "__main__.py"]

LOADED = """
import importlib, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("main", sys.argv[1])
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
before = set(sys.modules)
main.load_pack()
for name in sys.argv[2:]:
    importlib.import_module(f"still_moving.{name}")
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(new - set(sys.stdlib_module_names))))
"""


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages beyond the standard library that importing these brings in."""
    made = subprocess.run(
        [sys.executable, "-c", LOADED, str(ROOT / "__main__.py"), *modules],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(made.stdout)) - {"still_moving"}


def modules_in(folder: str) -> list[str]:
    """Dotted names, below the root, of the modules of a folder that need no ComfyUI."""
    names = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if not foreign_imports(path) & {"comfy", "comfy_api"}:
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


def foreign_imports(path: Path) -> set[str]:
    """Top-level names that a file imports absolutely, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_the_root_imports_nothing():
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
    assert loaded_by() == set()


def test_what_comfyui_reads_of_a_job_needs_the_standard_library_only():
    names = ("recipe", "job", "system", "plan", "presets", "about", "supervisor")
    assert loaded_by("adapters.errors", "adapters.atomic") == set()
    assert loaded_by(*(f"training.{name}" for name in names)) == set()


def test_adapters_need_torch_and_safetensors_only():
    allowed = {"torch", "safetensors"} | set(sys.stdlib_module_names)
    for name in modules_in("adapters"):
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert foreign_imports(path) <= allowed, name
    assert loaded_by(*modules_in("adapters")) >= {"torch"}
    assert not loaded_by(*modules_in("adapters")) & {"diffusers", "peft", "transformers", "comfy"}


def test_help_needs_nothing_heavy():
    assert loaded_by("cli") == set()


def test_the_worker_side_never_names_comfyui():
    host = {"comfy", "comfy_api", "comfy_extras", "nodes", "server", "folder_paths", "execution"}
    for path in (ROOT / "training").rglob("*.py"):
        assert not foreign_imports(path) & host, path


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_the_pack_are_relative(path):
    own = {p.name.removesuffix(".py") for p in ROOT.iterdir() if p.name != "__main__.py"}
    absolute = foreign_imports(path) - set(sys.stdlib_module_names)
    assert not absolute & (own | {"still_moving", "comfyui_stillmoving"})


def test_the_folder_may_have_any_name(tmp_path):
    away = shutil.ignore_patterns("weights", "out", ".*", "__pycache__", "tests", "web")
    root = tmp_path / "ComfyUI-Still Moving (2)"
    shutil.copytree(ROOT, root, ignore=away)
    made = subprocess.run(
        command("inspect", "--json", tmp_path / "none", root=root),
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert made.returncode == 2
    assert made.stderr.startswith("error: ")
    assert len(made.stderr.splitlines()) == 1
