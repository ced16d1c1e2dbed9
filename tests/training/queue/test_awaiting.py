"""Jobs that wait for another one's adapter: their order, what is taken, and what may go wrong."""

import dataclasses

import pytest

from helpers.queue_place import LONG, Place, add, reach, until
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder
from still_moving.training.jobs.ticket import Awaited, read_ticket
from still_moving.training.queue import awaiting
from still_moving.training.queue.awaiting import place as place_of
from still_moving.training.queue.host import JobView

pytestmark = pytest.mark.slow


def busy_with(supervisor) -> None:
    """Another node's job "x" that runs until it is stopped, so that others wait."""
    add(supervisor, "x", steps=LONG, uid="a node of its own")
    reach(supervisor, "x", "running")


def first(place: Place, supervisor, id: str = "a", **more) -> None:
    """A job that trains a Motion Adapter, and has it copied to where artists find it."""
    add(supervisor, id, publish=str(place.root / "adapters" / f"{id}.safetensors"), **more)


def second(supervisor, id: str = "b", after: str = "a", **more) -> JobView:
    """A job that takes that adapter."""
    awaited = Awaited("motion", after, f"the first, {after}", "node")
    return add(supervisor, id, kind="spatial", uid="another node", awaits=(awaited,), **more)


def taken(supervisor, id: str = "b") -> str:
    """What a job has as its Motion Adapter; empty until it has one."""
    folder = JobFolder(supervisor.folder(id))
    path = place_of(folder.path, "motion")
    assert folder.load().adapters == {"motion": str(path)}
    return path.read_text(encoding="utf-8") if path.exists() else ""


def waits(supervisor, id: str = "b") -> str | None:
    """What the job that this one waits for is at; None when it waits for none."""
    shown = supervisor.view(id)["waits_for"]
    return shown and shown["state"]


def test_it_waits_for_the_other_whatever_the_order_and_takes_its_adapter(place):
    supervisor = place.supervisor()
    busy_with(supervisor)
    first(place, supervisor)
    assert second(supervisor)["waits_for"] == {"id": "a", "name": "a", "state": "coming"}
    add(supervisor, "c")
    supervisor.reorder(["b", "c", "a"])  # its own wish is no way past the one it waits for
    assert [supervisor.view(id)["position"] for id in "abc"] == [2, 3, 1]
    supervisor.command("x", "stop")
    reach(supervisor, "b", "finished")
    assert place.lives()[2:] == [f"{event} {id}" for id in "cab" for event in ("begin", "end")]
    assert taken(supervisor) == "dog at 5"
    assert waits(supervisor) is None
    assert supervisor.view("a")["adapter"] == "a.safetensors"


def test_others_go_first_while_the_one_it_waits_for_is_paused(place):
    supervisor = place.supervisor()
    first(place, supervisor, steps=LONG)
    reach(supervisor, "a", "running")
    second(supervisor)
    supervisor.command("a", "pause")
    reach(supervisor, "a", "paused")
    until(lambda: waits(supervisor) == "paused")
    add(supervisor, "c")
    reach(supervisor, "c", "finished")
    assert supervisor.view("b")["phase"] == "queued"
    assert "begin b" not in place.lives()


def test_a_stop_leaves_an_adapter_and_that_is_taken(place):
    supervisor = place.supervisor()
    first(place, supervisor, steps=LONG)
    until(lambda: supervisor.view("a")["step"] > 3, "some steps")
    second(supervisor)
    supervisor.command("a", "stop")
    reach(supervisor, "b", "finished")
    assert taken(supervisor) == f"dog at {supervisor.view('a')['step']}"


def test_one_that_never_began_is_waited_for_again_when_it_is_resumed(place):
    supervisor = place.supervisor()
    busy_with(supervisor)
    first(place, supervisor)
    second(supervisor)
    supervisor.command("a", "stop")
    until(lambda: waits(supervisor) == "ended")
    supervisor.command("a", "resume")
    until(lambda: waits(supervisor) == "coming")
    supervisor.command("x", "stop")
    reach(supervisor, "b", "finished")


def fail(place: Place, supervisor) -> None:
    """Have the first job fail, with the second one waiting."""
    place.habits = ("fails",)
    first(place, supervisor, steps=LONG)
    reach(supervisor, "a", "running")
    second(supervisor)
    supervisor.command("a", "stop")
    reach(supervisor, "a", "failed")
    until(lambda: waits(supervisor) == "failed")
    place.habits = ()
    assert supervisor.view("b")["phase"] == "queued"


def test_one_that_failed_is_waited_for_until_it_is_trained_again(place):
    supervisor = place.supervisor()
    fail(place, supervisor)
    add(supervisor, "o", kind="motion", uid="a third node")  # not the same node's
    reach(supervisor, "o", "finished")
    assert waits(supervisor) == "failed"
    first(place, supervisor, "n")
    reach(supervisor, "b", "finished")
    assert taken(supervisor) == "dog at 5"
    assert place.lives()[-4:] == ["begin n", "end n", "begin b", "end b"]


def test_it_goes_on_when_one_that_failed_is_resumed(place):
    supervisor = place.supervisor()
    fail(place, supervisor)
    supervisor.command("a", "resume")
    until(lambda: waits(supervisor) == "coming")
    until(lambda: supervisor.view("a")["phase"] == "running", "the first one")
    supervisor.command("a", "stop")
    reach(supervisor, "b", "finished")
    assert taken(supervisor).startswith("dog at")


def test_a_deleted_one_is_told_by_its_name_and_may_be_trained_again(place):
    supervisor = place.supervisor()
    first(place, supervisor, steps=LONG)
    reach(supervisor, "a", "running")
    second(supervisor)
    supervisor.delete("a")
    until(lambda: waits(supervisor) == "deleted")
    assert supervisor.view("b")["waits_for"]["name"] == "the first, a"
    first(place, supervisor, "n")
    reach(supervisor, "b", "finished")


def test_what_was_taken_outlasts_the_job_it_came_from(place):
    supervisor = place.supervisor()
    busy_with(supervisor)
    first(place, supervisor)
    second(supervisor)
    supervisor.reorder(["a", "b"])
    supervisor.command("b", "pause")  # it need not be its turn
    supervisor.command("x", "pause")
    until(lambda: waits(supervisor) is None, "the adapter")
    supervisor.command("b", "resume")
    supervisor.delete("a")
    reach(supervisor, "b", "finished")
    assert taken(supervisor) == "dog at 5"


def test_both_wait_through_a_restart(place):
    before = place.supervisor()
    busy_with(before)
    first(place, before)
    second(before)
    before.close()
    after = place.supervisor()
    assert waits(after) == "coming"
    after.command("x", "stop")
    reach(after, "b", "finished")
    assert taken(after) == "dog at 5"


def test_an_adapter_that_cannot_be_taken_is_told_and_tried_again(place, monkeypatch):
    monkeypatch.setattr(awaiting, "_PAUSE_S", 0.3)
    supervisor = place.supervisor()
    busy_with(supervisor)
    first(place, supervisor)
    second(supervisor)
    obstacle = place_of(supervisor.folder("b"), "motion").parent
    obstacle.write_text("a file where the folder goes", encoding="utf-8")
    supervisor.command("x", "stop")
    until(lambda: "cannot be written to" in supervisor.view("b")["message"], "the trouble")
    obstacle.unlink()
    reach(supervisor, "b", "finished")
    assert supervisor.view("b")["message"] == ""


def test_no_job_waits_for_one_that_is_gone_or_waits_itself(place):
    supervisor = place.supervisor()
    busy_with(supervisor)
    first(place, supervisor)
    second(supervisor)
    with pytest.raises(UserError, match="a deleted job"):
        second(supervisor, "c", after="nothing")
    with pytest.raises(UserError, match="waits for another one"):
        second(supervisor, "c", after="b")
    with pytest.raises(UserError, match="a deleted job"):
        second(supervisor, "c", after="c")
    assert {view["id"] for view in supervisor.views()} == {"a", "b", "x"}
    assert read_ticket(supervisor.folder("b")).awaits[0].id == "a"


def test_two_that_a_damaged_file_has_wait_for_each_other_keep_nobody_else_from_training(place):
    before = place.supervisor()
    busy_with(before)
    first(place, before)
    second(before)
    before.close()
    folder = before.folder("a")
    awaits = (Awaited("motion", "b", "the second", "another node"),)
    dataclasses.replace(read_ticket(folder), awaits=awaits).write(folder)
    after = place.supervisor()
    add(after, "c")
    after.command("x", "stop")
    reach(after, "c", "finished")
    assert sorted(after.view(id)["position"] for id in "ab") == [1, 2]
    assert {"begin a", "begin b"}.isdisjoint(place.lives())
