"""Commands to a job whose last worker has said its last word, but whose process has not ended.

What is asked then holds as if the process were gone: the job goes on by itself once it is.
"""

import pytest

from helpers.queue_place import LONG, Place, add, reach, until
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder, State
from still_moving.training.queue.supervisor import Supervisor

pytestmark = pytest.mark.slow  # each starts workers

HELD, FREE = ("holds",), ("lingers",)
ENDS = [("stopped", HELD), ("stopped", FREE), ("failed", HELD), ("failed", FREE)]
TWO_LIVES = ["begin a", "end a", "begin a"]


def ended(place: Place, phase: str = "stopped", habits: tuple[str, ...] = HELD) -> Supervisor:
    """One that steers a job which has just ended in this phase, and whose process lingers."""
    place.habits = (*habits, "fails") if phase == "failed" else habits
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    until(lambda: supervisor.view("a")["step"] > 3, "some steps")
    supervisor.command("a", "stop")
    reach(supervisor, "a", phase)
    place.habits = ()
    assert place.lives() == ["begin a"]
    return supervisor


def goes_on(place: Place, supervisor: Supervisor) -> None:
    reach(supervisor, "a", "running")
    assert place.lives() == TWO_LIVES  # never two at once


@pytest.mark.parametrize(("phase", "habits"), ENDS)
def test_a_resume_waits_for_the_old_process(place, phase, habits):
    supervisor = ended(place, phase, habits)
    view = supervisor.command("a", "resume")
    assert (view["phase"], view["position"], view["message"]) == ("queued", 1, "")
    assert place.lives() == ["begin a"]
    goes_on(place, supervisor)
    phases = place.phases("a")
    assert phases[phases.index(phase) :][:4] == [phase, "queued", "loading", "running"]


@pytest.mark.parametrize("phase", ["stopped", "failed"])
def test_a_resume_waits_for_a_process_of_an_earlier_supervisor(place, phase):
    ended(place, phase).close()
    supervisor = place.supervisor()
    assert supervisor.view("a")["phase"] == phase
    view = supervisor.command("a", "resume")
    assert (view["phase"], view["position"]) == ("queued", 1)
    goes_on(place, supervisor)


def test_a_resume_outlives_the_supervisor_that_took_it(place):
    first = ended(place)
    first.command("a", "resume")
    first.close()
    goes_on(place, place.supervisor())


def test_a_resume_from_the_one_that_looks_on_waits_too(place):
    first = ended(place)
    second = place.supervisor()
    second.command("a", "resume")
    reach(first, "a", "queued")
    goes_on(place, first)


@pytest.mark.parametrize("phase", ["stopped", "failed"])
def test_a_last_word_that_comes_late_takes_no_resume_back(place, phase):
    supervisor = ended(place, phase, (*HELD, "repeats"))
    supervisor.command("a", "resume")
    goes_on(place, supervisor)
    assert phase not in place.phases("a")[-3:]


@pytest.mark.parametrize("habits", [(), HELD, FREE])
def test_a_resume_between_the_wish_to_stop_and_the_last_word_holds(place, habits):
    place.habits = ("exports slowly", *habits)
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    until(lambda: supervisor.view("a")["step"] > 3, "some steps")
    supervisor.command("a", "stop")
    exported = JobFolder(supervisor.folder("a")).exports / "dog.safetensors"
    until(exported.exists, "the export")
    place.habits = ()
    assert supervisor.command("a", "resume")["phase"] == "running"
    until(lambda: place.lives() == TWO_LIVES, "a second life")
    reach(supervisor, "a", "running")


@pytest.mark.parametrize("saved", [True, False])
def test_a_stop_after_the_resume_is_the_last_word(place, saved):
    supervisor = ended(place)
    folder = JobFolder(supervisor.folder("a"))
    if not saved:
        (folder.checkpoints / "latest").unlink()
    supervisor.command("a", "resume")
    supervisor.command("a", "stop")
    reach(supervisor, "a", "stopped")
    until(lambda: place.lives()[-1] == "end a", "the end of the last process")
    assert supervisor.view("a")["phase"] == "stopped"
    assert len(place.lives()) == (4 if saved else 2)  # what is learned is written by a worker


def test_a_pause_after_the_resume_holds_until_the_next(place):
    supervisor = ended(place)
    supervisor.command("a", "resume")
    view = supervisor.command("a", "pause")
    assert (view["phase"], view["position"]) == ("paused", None)
    until(lambda: place.lives()[-1] == "end a", "the end of the process")
    assert supervisor.view("a")["phase"] == "paused"
    supervisor.command("a", "resume")
    goes_on(place, supervisor)


def test_a_job_that_has_ended_is_neither_paused_nor_saved(place):
    supervisor = ended(place)
    for command in ("stop", "pause"):
        assert supervisor.command("a", command)["phase"] == "stopped"
    for command in ("save", "sample"):
        with pytest.raises(UserError, match="no worker"):
            supervisor.command("a", command)
    until(lambda: place.lives()[-1] == "end a", "the end of the process")
    assert supervisor.view("a")["phase"] == "stopped"


def test_a_finished_job_is_not_resumed_while_its_process_lingers(place):
    place.habits = HELD
    supervisor = place.supervisor()
    add(supervisor, "a")
    reach(supervisor, "a", "finished")
    with pytest.raises(UserError, match="finished"):
        supervisor.command("a", "resume")
    assert JobFolder(supervisor.folder("a")).read_state() == State("finished", 0, 5, 5)


def test_others_in_the_queue_keep_their_place_before_a_resumed_job(place):
    supervisor = ended(place)
    add(supervisor, "b")
    supervisor.command("a", "resume")
    assert [supervisor.view(id)["position"] for id in "ab"] == [2, 1]
    goes_on_after = ["begin a", "end a", "begin b", "end b", "begin a"]
    until(lambda: place.lives() == goes_on_after, "a's turn")


def test_a_paused_job_that_made_place_is_never_shown_as_loading(place):
    place.habits = HELD
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    supervisor.command("a", "pause")
    reach(supervisor, "a", "paused")
    add(supervisor, "b")
    until(lambda: "begin b" in place.lives(), "b's turn")
    assert place.phases("a")[-1] == "paused"
    assert place.phases("a").count("loading") == 1
