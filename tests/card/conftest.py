"""Tests on the pretended card: counted as skipped, with the reason, in a process without it."""

import gc
from collections.abc import Callable

import pytest

from helpers import card
from helpers.card import library
from helpers.unrun import collector

REASON = card.why_not()
if not REASON and not card.inside():
    REASON = f"this process is not on the pretended card: set {card.SWITCH}=1"
elif REASON:
    REASON = f"no pretended card: {REASON}"

DIFFERENCES: dict[str, float] = {}

pytest_pycollect_makemodule = collector(REASON)


def pytest_terminal_summary(terminalreporter) -> None:
    """The closing line: how many tests did not run for lack of the card."""
    skipped = terminalreporter.stats.get("skipped", [])
    if REASON and skipped:
        terminalreporter.write_line(f"{len(skipped)} tests did not run: {REASON}")
    for name, difference in sorted(DIFFERENCES.items()):
        terminalreporter.write_line(f"largest difference to the CPU: {name}: {difference:.1e}")


@pytest.fixture
def note_difference() -> Callable[[str, float], None]:
    """Call with what was compared and its relative difference; the largest are printed."""

    def note(name: str, difference: float) -> None:
        name = name.replace("torch.", "")
        DIFFERENCES[name] = max(difference, DIFFERENCES.get(name, 0.0))

    return note


@pytest.fixture(scope="session", autouse=True)
def only_what_tests_make():
    """What was imported is passed over by ``gc.collect``, which takes a third of a second else."""
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left():
    """What a test held on the card is free before the next one, and no kernel was missing."""
    import torch

    yield
    gc.collect()
    torch.cuda.empty_cache()
    assert library.card().counters.launches == 0
