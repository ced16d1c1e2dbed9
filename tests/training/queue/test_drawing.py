"""Jobs whose first process draws what they train on, and leaves the training to the next one."""

import sys
from pathlib import Path

import pytest

from helpers import drawing_worker
from helpers.queue_place import Place, add, reach

pytestmark = pytest.mark.slow


def draws(place: Place, habit: str) -> None:
    """Have the place's workers draw first."""
    worker = Path(drawing_worker.__file__)
    place.command = lambda folder: [
        sys.executable, str(worker), str(folder), str(place.diary), habit,
    ]  # fmt: skip  # a line


def test_the_view_counts_items_and_then_steps(place):
    draws(place, "draws")
    supervisor = place.supervisor()
    assert not add(supervisor, "a")["drawing"]
    view = reach(supervisor, "a", "finished")
    assert (view["drawing"], view["step"], view["steps"]) == (False, 5, 5)
    drawing = [view for view in place.views if view["drawing"]]
    assert {view["steps"] for view in drawing} == {drawing_worker.COUNT}
    counts = [view["step"] for view in drawing]
    assert counts == sorted(counts)
    assert any(view["eta_s"] == 1.5 for view in drawing)
    assert all(view["loss"] == [] for view in drawing)
    assert place.lives() == ["begin a", "end a"]


def test_a_worker_that_dies_after_each_item_goes_on_as_long_as_there_are_new_ones(place):
    draws(place, "dies")
    supervisor = place.supervisor()
    add(supervisor, "a")
    assert reach(supervisor, "a", "finished")["step"] == 5


def test_a_worker_that_never_draws_is_given_up_and_keeps_its_count(place):
    draws(place, "stuck")
    supervisor = place.supervisor()
    add(supervisor, "a")
    view = reach(supervisor, "a", "failed")
    assert "ended 3 times" in view["message"]
    assert (view["drawing"], view["step"], view["steps"]) == (True, 0, drawing_worker.COUNT)
    draws(place, "draws")
    supervisor.command("a", "resume")
    reach(supervisor, "a", "finished")
