"""What the registry is told and handed: names, versions, files, pictures."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.imports import files, own

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))
brand, release, _packed = map(importlib.import_module, ("brand", "release", "_packed"))

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("pip._vendor.tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
TOPS = ("adapters", "cli", "common", "demo", "nodes", "training", "worlds")
DATA = ("locales", "web/docs", "web/js", "workflows")


@pytest.fixture(scope="module")
def handed():
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True).returncode:
        pytest.skip("this folder is no git checkout, which knows the pack's files")
    return _packed.packed()


def test_dependencies_are_those_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert PROJECT["project"]["dependencies"] == wanted
    assert "dynamic" not in PROJECT["project"]  # older tools read that as none


def test_the_name_is_one_that_the_registry_takes():
    name = PROJECT["project"]["name"]
    assert re.fullmatch(r"[a-z](?:[-_.]?[a-z0-9])*", name)
    assert len(name) < 100
    assert "comfyui" not in name
    assert release.VERSION.fullmatch(PROJECT["project"]["version"])


def test_the_oldest_comfyui_is_the_one_that_tests_run_on():
    oldest = PROJECT["tool"]["comfy"]["requires-comfyui"].removeprefix(">=")
    assert f"ComfyUI-{oldest}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"ComfyUI {oldest}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_runs_is_handed_out_and_needs_nothing_that_is_not(handed):
    for path in _packed.tracked():
        if path.startswith(tuple(f"{top}/" for top in (*TOPS, *DATA))):
            assert path in handed
    for module, path in files().items():
        if path.relative_to(ROOT).as_posix() in handed:
            for needed in own(module):
                assert files()[needed].relative_to(ROOT).as_posix() in handed, (module, needed)
    assert {"__init__.py", "__main__.py", "LICENSE", "README.md", "requirements.txt"} < set(handed)


def test_what_only_makers_need_stays_out(handed):
    assert {path.split("/")[0] for path in handed}.isdisjoint({"tests", "benchmarks", "tools"})
    assert _packed.megabytes(handed) < 45


def test_the_newest_section_of_the_changelog_is_this_version():
    newest = re.search(r"^## (\S+) \((.+)\)$", CHANGELOG, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["project"]["version"]
    assert newest[2] == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2])


def test_a_release_writes_version_and_day():
    changelog = "# Changelog\n\n## 0.3.0 (unreleased)\n- new\n\n## 0.2.0 (2026-01-02)\n- old\n"
    assert release.unreleased(changelog) == "0.3.0"
    dated = release.with_date(changelog, "0.3.1", "2026-02-03")
    assert dated == changelog.replace("0.3.0 (unreleased)", "0.3.1 (2026-02-03)")
    assert release.unreleased(dated) is None
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = tomllib.loads(release.with_version(project, "7.8.9", ""))
    assert found == PROJECT | {"project": PROJECT["project"] | {"version": "7.8.9"}}
    assert "three numbers" in release.cannot("1.2")


@pytest.mark.parametrize(("name", "size"), [("icon", brand.ICON), ("banner", brand.BANNER)])
def test_pictures_are_there_at_their_size(name, size):
    key = name.capitalize()
    assert PROJECT["tool"]["comfy"][key].endswith(f"/docs/pictures/{name}.png")
    with Image.open(brand.PICTURES / f"{name}.png") as picture:
        assert picture.size == size
