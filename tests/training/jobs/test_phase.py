"""Which phase people are shown, and that pages group the same phases as the queue."""

import json
import re

import pytest

from helpers.small import ROOT
from still_moving.training.jobs.phase import ENDED, LIVING, SHOWN, shown_phase

PAGES = ROOT / "web" / "js" / "phases.js"


def seen(phase, *, at_it="", pause=False, taken_up=True) -> str:
    """at_it: the process of a worker: "held" with the job's lock, "begun" without, or none."""
    held = at_it == "held"
    return shown_phase(phase, worked_on=bool(at_it), held=held, pause=pause, taken_up=taken_up)


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize("at_it", ["", "begun", "held"])
@pytest.mark.parametrize("phase", ENDED)
def test_an_end_is_shown_whoever_is_there(phase, at_it, pause):
    assert seen(phase, at_it=at_it, pause=pause) == phase


def test_a_worker_shows_its_own_phase_once_it_has_the_lock():
    for phase in LIVING:
        assert seen(phase, at_it="held", pause=True) == phase
        assert seen(phase, at_it="begun") == "loading"  # what stands there is of an earlier life
    assert seen("waiting", at_it="held") == "loading"


@pytest.mark.parametrize("phase", ["waiting", *LIVING])
def test_without_a_worker_a_job_is_paused_queued_or_interrupted(phase):
    assert seen(phase, pause=True) == seen(phase, pause=True, taken_up=False) == "paused"
    assert seen(phase) == "queued"
    alone = seen(phase, taken_up=False)
    assert alone == ("queued" if phase == "waiting" else "interrupted")


def page_groups() -> dict[str, list[str]]:
    """The lists that web/js/phases.js exports, by name."""
    lists = re.findall(r"export const (\w+) = (\[[^\]]*\]);", PAGES.read_text(encoding="utf-8"))
    return {name: json.loads(re.sub(r",\s*\]", "]", items)) for name, items in lists}


def test_pages_know_every_phase_and_the_same_groups():
    pages = {name: set(phases) for name, phases in page_groups().items()}
    assert pages["PHASES"] == set(SHOWN)
    assert pages["ENDED"] == set(ENDED)
    assert pages["ACTIVE"] == {"queued", *LIVING}
    assert pages["STOPPABLE"] == set(SHOWN) - set(ENDED)
    assert pages["RESUMABLE"] == {"paused", "interrupted", *ENDED} - {"finished"}
    for name, phases in pages.items():
        assert phases <= set(SHOWN), name
