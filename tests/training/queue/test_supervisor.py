"""The queue of jobs: order, one at a time, who gives way, what survives a supervisor or a worker.

The workers are real processes that hold the lock and obey, but train nothing (steady_worker.py).
"""

import json
import sys
import threading
import time

import pytest

from helpers.queue_place import LONG, Place, add, reach, until
from still_moving.common import processes
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import JobFolder


@pytest.mark.slow
def test_jobs_run_one_at_a_time_in_their_order(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    for id in "bcd":
        add(supervisor, id)
    assert [supervisor.view(id)["position"] for id in "abcd"] == [None, 1, 2, 3]
    supervisor.reorder(["d", "b"])
    assert [supervisor.view(id)["position"] for id in "bcd"] == [2, 3, 1]
    supervisor.command("a", "stop")
    for id in "dbc":
        reach(supervisor, id, "finished")
    assert place.lives() == [f"{event} {id}" for id in "adbc" for event in ("begin", "end")]
    assert [view["id"] for view in supervisor.views()] == ["d", "c", "b", "a"]


@pytest.mark.slow
def test_pages_are_told_every_phase_and_the_last_step(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=60)
    reach(supervisor, "a", "finished")
    until(lambda: place.views[-1]["phase"] == "finished", "the last push")
    assert place.phases("a")[-2:] == ["running", "finished"]
    assert (place.views[-1]["step"], place.views[-1]["steps"]) == (60, 60)
    assert place.views[-1]["loss"][-1] == [60, 1 / 60]
    numbers = [view["seq"] for view in place.views]
    assert numbers == sorted(set(numbers))
    running = [view for view in place.views if view["phase"] == "running"]
    assert 2 <= len(running) <= 8  # 0.6 s and more, at most four a second
    json.dumps(place.views, allow_nan=False)


@pytest.mark.slow
def test_a_paused_job_makes_place_and_goes_on_later(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    until(lambda: supervisor.view("a")["step"] > 0, "a step")
    supervisor.command("a", "pause")
    reach(supervisor, "a", "paused")
    add(supervisor, "b")
    reach(supervisor, "b", "finished")
    until(lambda: "end b" in place.lives())  # the process ends after its job
    paused = supervisor.view("a")
    assert (paused["phase"], paused["position"]) == ("paused", None)
    assert place.lives() == ["begin a", "end a", "begin b", "end b"]
    supervisor.command("a", "resume")
    reach(supervisor, "a", "running")
    assert supervisor.view("a")["step"] >= paused["step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["yield", "keep"])
def test_a_job_gives_way_and_comes_back_after_some_quiet(place, policy):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG, policy=policy)
    reach(supervisor, "a", "running")
    place.busy = True
    reach(supervisor, "a", "yielding")
    assert JobFolder(supervisor.folder("a")).read_sharing() == policy
    supervisor.command("a", "pause")
    reach(supervisor, "a", "paused")
    place.busy = False
    time.sleep(0.5)
    assert supervisor.view("a")["phase"] == "paused"  # the artist's wish stands above sharing
    supervisor.command("a", "resume")
    reach(supervisor, "a", "running")


@pytest.mark.slow
def test_a_sharing_job_runs_on(place):
    supervisor = place.supervisor()
    place.busy = True
    add(supervisor, "a", steps=50, policy="share")
    reach(supervisor, "a", "finished")
    assert "yielding" not in place.phases("a")


@pytest.mark.slow
def test_a_killed_worker_is_replaced(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=150)
    reach(supervisor, "a", "running")
    folder = JobFolder(supervisor.folder("a"))
    processes.kill(int(folder.pid.read_text(encoding="utf-8").split()[0]))
    until(lambda: place.lives().count("begin a") == 2, "a second life")
    assert reach(supervisor, "a", "finished")["step"] == 150


@pytest.mark.slow
def test_a_worker_that_dies_at_once_is_given_up_with_its_last_words(place):
    place.command = lambda folder: [sys.executable, "-c", "raise SystemExit('no torch <here>')"]
    supervisor = place.supervisor()
    add(supervisor, "a")
    view = reach(supervisor, "a", "failed")
    assert "ended 3 times" in view["message"]
    assert "no torch <here>" in view["message"]
    assert supervisor.log("a").count("no torch") == 3
    place.command = Place(place.root.parent).command
    supervisor.command("a", "resume")
    reach(supervisor, "a", "finished")


@pytest.mark.slow
def test_a_command_that_is_no_program_is_told(place):
    place.command = lambda folder: [str(folder / "nothing")]
    supervisor = place.supervisor()
    add(supervisor, "a")
    assert "cannot be started" in reach(supervisor, "a", "failed")["message"]


@pytest.mark.slow
def test_a_new_supervisor_takes_up_what_runs_and_what_was_interrupted(place):
    first = place.supervisor()
    add(first, "a", steps=LONG)
    reach(first, "a", "running")
    add(first, "b", steps=LONG)
    first.close()
    second = place.supervisor()
    assert second.view("a")["phase"] == "running"
    assert second.view("b")["position"] == 1
    assert second.view("a")["seq"] > first.view("a")["seq"]
    step = second.view("a")["step"]
    until(lambda: second.view("a")["step"] > step, "steps of the old worker")
    assert place.lives() == ["begin a"]
    second.close()
    pid = JobFolder(second.folder("a")).pid.read_text(encoding="utf-8").split()[0]
    processes.kill(int(pid))
    third = place.supervisor()
    until(lambda: place.lives() == ["begin a", "begin a"], "a second life")
    reach(third, "a", "running")


@pytest.mark.slow
def test_of_two_supervisors_one_looks_on_and_takes_over(place):
    first, second = place.supervisor(), place.supervisor()
    add(second, "a", steps=LONG)
    until(first.views, "the first one to find it")
    reach(first, "a", "running")
    until(lambda: second.view("a")["phase"] == "running", "the other one's view")
    assert "looks on" in second.view("a")["message"]
    assert first.view("a")["message"] == ""
    second.command("a", "stop")
    reach(first, "a", "stopped")
    until(lambda: second.view("a")["phase"] == "stopped", "the other one's view")
    first.close()
    add(second, "b")
    reach(second, "b", "finished")
    assert place.lives()[2:] == ["begin b", "end b"]
    assert second.view("b")["message"] == ""


@pytest.mark.slow
def test_a_job_that_never_began_stops_at_once(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    add(supervisor, "b")
    assert supervisor.command("b", "stop")["phase"] == "stopped"
    assert supervisor.view("b")["adapter"] is None
    supervisor.command("b", "resume")
    assert supervisor.view("b")["position"] == 1


@pytest.mark.slow
def test_commands_from_many_threads_leave_one_whole_job(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")

    def press() -> None:
        for command in ("pause", "resume", "save", "sample"):
            supervisor.command("a", command)

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    control = JobFolder(supervisor.folder("a")).read_control()
    assert (control.save, control.sample) == (8, 8)
    with pytest.raises(UserError, match="command"):
        supervisor.command("a", "../x")
