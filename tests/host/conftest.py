"""Boots ComfyUI itself in this process, without its server; every test here runs on it.

The checkout is COMFYUI_PATH, or ~/comfy/ComfyUI. One process holds one version: tests/run.py runs
this folder once for each. Tests that need a server or a browser start them through fixtures.
"""

import ast
import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

COMFYUI = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI")
NEEDED = ("torchsde", "scipy", "sentencepiece", "comfy_kitchen", "comfy_aimdo", "aiohttp")
NEEDED += ("alembic", "sqlalchemy", "kornia", "comfyui_frontend_package")


def why_not() -> str | None:
    """The reason why ComfyUI cannot be booted here; None when it can."""
    if not (COMFYUI / "comfy" / "sd.py").is_file():
        return "no ComfyUI found: set COMFYUI_PATH to a checkout"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"ComfyUI's requirements {missing} are not installed" if missing else None


REASON = why_not()
if REASON is None:
    # ComfyUI reads its options when it is imported, so this cannot wait for a fixture.
    import tempfile

    _base = tempfile.TemporaryDirectory(prefix="still-moving-host-")
    _argv, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", _base.name]
    sys.path.insert(0, str(COMFYUI))
    import comfy.options

    comfy.options.enable_args_parsing()
    # In this order: comfy/utils.py must not be found as `utils`.
    for _name in ("utils.extra_config", "comfy.cli_args", "nodes"):
        importlib.import_module(_name)
    sys.argv = _argv


class _Unrun(pytest.Item):
    def runtest(self) -> None:
        pytest.skip(str(REASON))


class _UnrunFile(pytest.File):
    """Stands for a file that cannot be imported without ComfyUI, so that its tests are counted."""

    def collect(self):
        for node in ast.parse(self.path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield _Unrun.from_parent(self, name=node.name)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector):
    return _UnrunFile.from_parent(parent, path=module_path) if REASON else None


def pytest_terminal_summary(terminalreporter):
    """The closing line: how many tests did not run for lack of a host, or of a browser."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    unrun = [
        reason.removeprefix("Skipped: ") for reason in skipped if REASON or "no browser" in reason
    ]
    if unrun:
        terminalreporter.write_line(f"{len(unrun)} tests did not run: {', '.join(set(unrun))}")


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The checkout that runs in this process."""
    return COMFYUI


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A started ComfyUI of that checkout, with the pack among its custom nodes."""
    from helpers.host.live import Server, frontend_of

    with Server(COMFYUI, tmp_path_factory.mktemp("server"), frontend_of(COMFYUI)) as started:
        yield started


@pytest.fixture(scope="module")
def browser(server):
    """A Chromium that looks at that server. Only one module's tests hold it: while it is open,
    no other test could run an event loop in this process.
    """
    from helpers.host.browser import Browser, why_no_browser

    if reason := why_no_browser(COMFYUI):
        pytest.skip(f"no browser: {reason}")
    with Browser(server) as opened:
        yield opened
