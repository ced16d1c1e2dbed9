"""One started ComfyUI with every pack beside ours that is found here; `server` has ours alone."""

import shutil

import pytest

from helpers.host import packs


@pytest.fixture(scope="session")
def crowd(server, comfyui, tmp_path_factory):
    """A started ComfyUI with the other packs among its custom nodes."""
    from helpers.host.live import Server, frontend_of

    if not packs.folders():
        pytest.skip(packs.why_not("AnimateDiff-Evolved"))
    base, copies = tmp_path_factory.mktemp("crowd"), comfyui / "web"
    was_there = copies.exists()
    try:
        with Server(comfyui, base, frontend_of(comfyui), beside=packs.folders()) as started:
            yield started
    finally:
        if not was_there:  # FizzNodes copies its pages into the checkout
            shutil.rmtree(copies, ignore_errors=True)


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest) -> None:
    """Skip what is marked ``pack`` where that pack is not found."""
    for mark in request.node.iter_markers("pack"):
        if reason := packs.why_not(mark.args[0]):
            pytest.skip(reason)
