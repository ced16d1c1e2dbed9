"""Jobs whose weights are still being written when they are asked for."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers.queue_place import Place, add, reach, until
from still_moving.common.system import exclusive
from still_moving.training.jobs import coming

pytestmark = pytest.mark.slow


class Weights:
    """A file of weights, and the lock of who writes it."""

    def __init__(self, place: Place):
        self.path = place.root / "weights" / "0123456789abcdef.safetensors"
        self.path.parent.mkdir(parents=True)
        self._held = ExitStack()
        assert self._held.enter_context(exclusive(coming.note_of(self.path)))

    def write(self) -> None:
        self.path.write_bytes(b"weights")
        self.let_go()
        coming.forget(self.path)

    def let_go(self) -> None:
        self._held.close()

    def left(self) -> list[Path]:
        return list(self.path.parent.iterdir())


@pytest.fixture
def weights(place):
    weights = Weights(place)
    yield weights
    weights.let_go()


def test_a_job_waits_for_them_and_says_so(place, weights):
    supervisor = place.supervisor()
    view = add(supervisor, "a", uses=(str(weights.path),))
    assert view["phase"] == "queued"
    assert view["message"] == "The model's weights are being written to the disk."
    add(supervisor, "b")  # and nobody waits for it
    reach(supervisor, "b", "finished")
    assert supervisor.view("a")["phase"] == "queued"
    weights.write()
    assert not reach(supervisor, "a", "finished")["message"]


def test_a_writer_that_died_fails_the_job_which_goes_on_when_the_file_is_there(place, weights):
    supervisor = place.supervisor()
    add(supervisor, "a", uses=(str(weights.path),))
    weights.let_go()
    assert reach(supervisor, "a", "failed")["message"] == coming.CUT_OFF
    assert not place.lives()
    weights.write()
    supervisor.command("a", "resume")
    reach(supervisor, "a", "finished")


def test_a_writer_that_gave_up_says_why(place, weights):
    supervisor = place.supervisor()
    add(supervisor, "a", uses=(str(weights.path),))
    coming.reason_of(weights.path).write_text("No room is left.", encoding="utf-8")
    assert supervisor.view("a")["phase"] == "queued"  # while it may yet be
    weights.let_go()
    assert reach(supervisor, "a", "failed")["message"] == "No room is left."


def test_nothing_is_left_of_a_job_that_was_deleted_meanwhile(place, weights):
    supervisor = place.supervisor()
    add(supervisor, "a", uses=(str(weights.path),))
    supervisor.delete("a")
    assert not supervisor.views()
    assert coming.note_of(weights.path) in weights.left()
    weights.write()
    until(lambda: not weights.left(), "its weights to go")
    until(lambda: not list((place.root / "jobs").iterdir()), "its folder to go")
