"""Loads the pack by path under one name, as ComfyUI does, and sorts the tests into tiers."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import seed, settings

from helpers import card
from helpers.pack import load_pack

os.environ["HF_HUB_OFFLINE"] = "1"
# The same few cases everywhere, so that what passed passes again; or, at night, many new ones, to
# look for what nobody thought of.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("explore", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

card.put_in()  # before anything imports torch
load_pack()
# Under nohup a hang-up is ignored, by every process that is started from here as well, and what
# ends a training could not be tried. One that is handled means nothing to them.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what can be seen from outside, so that nobody has to remember it."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        for name in ("server", "browser"):
            if name in names:
                item.add_marker(name)
        if {"server", "browser"} & set(names):
            item.add_marker("slow")
        function = getattr(item, "function", None)
        if function is not None and getattr(function, "is_hypothesis_test", False):
            item.add_marker("fuzz")
            if "STILL_MOVING_SEED" in os.environ:
                seed(int(os.environ["STILL_MOVING_SEED"]))(function)


@pytest.fixture(autouse=True)
def no_process_in_a_fast_test(request, monkeypatch) -> None:
    """What ``make test-fast`` runs starts no process: that takes seconds, or comes to it."""
    if request.node.get_closest_marker("slow") or "not slow" not in request.config.option.markexpr:
        return

    def refuse(*_arguments, **_options):
        pytest.fail("This test starts a process: mark it slow.")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def one_thread():
    """Sums depend on the number of threads; child processes have one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def like_windows(monkeypatch) -> None:
    """Files are refused as Windows refuses them, and so is patience had."""
    from helpers.like_windows import be_like_windows

    be_like_windows(monkeypatch)


@pytest.fixture
def dice() -> random.Random:
    """For cases that are drawn by hand: the same ones, or at night new ones."""
    return random.Random(int(os.environ.get("STILL_MOVING_SEED", "0")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos and clips; only beside a developer's checkout and in CI."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real photos and clips are not beside this checkout ({SHARED_DATA.name}/)")
    return SHARED_DATA
