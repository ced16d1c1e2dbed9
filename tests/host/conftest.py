"""Boots ComfyUI itself in this process, without its server; every test here runs on it.

The checkout is COMFYUI_PATH, or ~/comfy/ComfyUI. One process holds one version: tests/run.py runs
this folder once for each. Tests that need a server or a browser start them through fixtures.
"""

from pathlib import Path

import pytest

from helpers.host import packs
from helpers.host.boot import COMFYUI, boot, why_not
from helpers.unrun import collector

REASON = why_not()
if not REASON:
    # ComfyUI reads its options when it is imported, so this cannot wait for a fixture.
    boot("--cpu")

pytest_pycollect_makemodule = collector(REASON)


def pytest_terminal_summary(terminalreporter):
    """The closing line: how many tests did not run for lack of a host, a browser or a pack."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    reasons = [reason.removeprefix("Skipped: ") for reason in skipped]
    lacking = {reason for name in packs.PACKS if (reason := packs.why_not(name))}
    unrun = [r for r in reasons if REASON or "no browser" in r or r in lacking]
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


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def opened(request, browser):
    """The editor with fake jobs in it, once in each mode."""
    from helpers.host.editor import Editor

    if request.param and not browser.has_nodes_2:
        pytest.skip("Nodes 2.0 is a prototype in this frontend: it has no widgets of packs")
    with browser.open(nodes_2=request.param) as page:
        yield Editor(page)


@pytest.fixture
def editor(opened):
    """The same, empty; it must have no errors at the end of a test."""
    opened.reset()
    yield opened
    assert opened.opened.errors == []
