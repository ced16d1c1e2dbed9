"""diffusers and peft in a version that lacks something: named, with the way back."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from helpers.small import ROOT, environment, motion_recipe, new_job
from still_moving.training.worker import packages

REQUIRED = (ROOT / "requirements.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", packages.TESTED)
def test_what_is_said_of_versions_is_what_is_required_and_tested(package):
    oldest, newest = packages.TESTED[package]
    assert re.search(rf"^{package}>={re.escape(oldest)}$", REQUIRED, re.MULTILINE)
    assert packages._numbers(version(package)) <= packages._numbers(newest)
    assert packages.untested() == ""


def put(folder: Path, package: str, number: str, code: str | None) -> None:
    """A package of this version that stands before the environment's; None: its metadata alone."""
    data = folder / f"{package}-{number}.dist-info"
    data.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {package}\nVersion: {number}\n"
    (data / "METADATA").write_text(text, encoding="utf-8")
    if code is not None:
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(code, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("diffusers", ""),  # a name that was moved
        ("diffusers", "raise RuntimeError('Failed to import diffusers.models.unets')"),
        ("peft", "import peft.somewhere"),
    ],
)
def test_a_job_says_which_package_lacks_something(tmp_path, files, package, code):
    job = new_job(tmp_path / "job", motion_recipe(), files)
    put(tmp_path / "packages", package, "9.9", code)
    command = [sys.executable, str(ROOT / "__main__.py"), "train", "work", str(job.path)]
    variables = environment() | {"PYTHONPATH": str(tmp_path / "packages")}
    ended = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=variables, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert job.phase() == "failed"
    message = job.read_state().message
    oldest, newest = packages.TESTED[package]
    assert message.startswith(f"{package}: found version 9.9, which gives other things")
    assert f'pip install "{package}>={oldest},<={newest}"' in message


def test_a_crash_under_a_newer_version_says_so(tmp_path, monkeypatch):
    put(tmp_path, "diffusers", "9.9", None)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages.untested().startswith(" diffusers 9.9 is newer than this pack was tested with")
    assert "peft" not in packages.untested()


def test_other_errors_are_not_blamed_on_a_package():
    assert packages.lacking(ImportError("cannot import name 'x' from 'still_moving'")) is None
    missing = packages.lacking(ModuleNotFoundError("No module named 'peft'", name="peft"))
    assert missing is not None
