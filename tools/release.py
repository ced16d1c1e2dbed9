"""Prepares a release: version, dated changelog, commit and tag; and says what would be handed out.

``python tools release`` says which files the registry gets, and how large they are. ``python tools
release 0.2.0`` writes the version into pyproject.toml and today's date into CHANGELOG.md, commits
and tags. Nothing is pushed: it prints the two commands that publish.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess

from _packed import ROOT, megabytes, packed, tracked

from still_moving.common.atomic import atomic_write_text

VERSION = re.compile(r"\d+\.\d+\.\d+")
_UNRELEASED = re.compile(r"^## (\d+\.\d+\.\d+) \(unreleased\)$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="?", help="such as 0.2.0; without it nothing is changed")
    version = parser.parse_args().version
    files, every = packed(), tracked()
    print(f"handed out: {len(files)} files, {megabytes(files):.1f} MB")
    print(f"everything: {len(every)} files, {megabytes(every):.1f} MB")
    if version is None:
        return 0
    if mistake := cannot(version):
        print(mistake)
        return 1
    write(version, datetime.date.today().isoformat())
    _git("add", "pyproject.toml", "CHANGELOG.md")
    _git("commit", "--message", f"Release {version}")
    _git("tag", "--annotate", f"v{version}", "--message", f"Version {version}")
    print("Now: git push --follow-tags, then comfy node publish (both need your keys).")
    return 0


def cannot(version: str) -> str:
    """Why this version cannot be released now; nothing if it can."""
    if not VERSION.fullmatch(version):
        return f"{version} is no version: three numbers are, such as 0.2.0."
    if _git("status", "--porcelain"):
        return "There are changes that are not committed: commit them, or put them away."
    if f"v{version}" in _git("tag").splitlines():
        return f"v{version} is released already: choose a higher one."
    if unreleased((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) is None:
        return 'CHANGELOG.md has no section "## X.Y.Z (unreleased)": write what is new.'
    return ""


def unreleased(changelog: str) -> str | None:
    """The version that the changelog's unreleased section is for."""
    found = _UNRELEASED.search(changelog)
    return found[1] if found else None


def write(version: str, date: str) -> None:
    """The version into both files, and the day into the changelog."""
    for name, change in (("pyproject.toml", with_version), ("CHANGELOG.md", with_date)):
        path = ROOT / name
        atomic_write_text(path, change(path.read_text(encoding="utf-8"), version, date))


def with_version(project: str, version: str, date: str) -> str:
    return re.sub(r'^version = ".*"$', f'version = "{version}"', project, flags=re.MULTILINE)


def with_date(changelog: str, version: str, date: str) -> str:
    return _UNRELEASED.sub(f"## {version} ({date})", changelog, count=1)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
