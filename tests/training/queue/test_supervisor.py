"""The queue of jobs: order, one at a time, what survives, what is refused and removed.

The workers are real processes that hold the lock and obey, but train nothing (steady_worker.py).
"""

import dataclasses
import json
import sys
import threading
import time

import pytest

from helpers.queue_place import LONG, Place, add, reach, until
from helpers.small import motion_recipe
from still_moving.common import system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Job, JobFolder, State
from still_moving.training.jobs.ticket import Ticket, is_id
from still_moving.training.queue.history import History, Series


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
    assert place.lives() == [f"{what} {id}" for id in "adbc" for what in ("begin", "end")]
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
    system.kill(int(folder.pid.read_text()))
    until(lambda: place.lives().count("begin a") == 2, "a second life")
    assert reach(supervisor, "a", "finished")["step"] == 150


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


def test_a_command_that_is_no_program_is_told(place):
    place.command = lambda folder: [str(folder / "nothing")]
    supervisor = place.supervisor()
    add(supervisor, "a")
    assert "cannot be started" in reach(supervisor, "a", "failed")["message"]


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
    system.kill(int(JobFolder(second.folder("a")).pid.read_text()))
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
def test_an_adapter_is_published_once_and_overwrites_nobody(place, tmp_path):
    target = tmp_path / "loras" / "dog.safetensors"
    target.parent.mkdir()
    target.write_text("somebody else's")
    supervisor = place.supervisor()
    add(supervisor, "a", publish=str(target))
    assert reach(supervisor, "a", "finished")["adapter"] == "dog 2.safetensors"
    assert target.read_text() == "somebody else's"
    assert target.with_name("dog 2.safetensors").read_text() == "dog at 5"
    add(supervisor, "b", steps=7, publish=str(target))
    assert reach(supervisor, "b", "finished")["adapter"] == "dog 3.safetensors"
    supervisor.close()
    again = place.supervisor()
    assert again.view("a")["adapter"] == "dog 2.safetensors"
    assert len(list(target.parent.iterdir())) == 3
    assert again.latest_finished("node")["id"] == "b"
    assert again.latest_finished("other") is None
    target.with_name("dog 3.safetensors").unlink()
    until(lambda: again.latest_finished("node")["id"] == "a", "the loss to be noticed")


@pytest.mark.slow
def test_a_stopped_job_goes_on_and_publishes_under_its_own_name(place, tmp_path):
    target = tmp_path / "dog.safetensors"
    supervisor = place.supervisor()
    add(supervisor, "a", steps=500, publish=str(target))
    until(lambda: supervisor.view("a")["step"] > 3, "some steps")
    supervisor.command("a", "stop")
    assert reach(supervisor, "a", "stopped")["adapter"] == "dog.safetensors"
    assert supervisor.latest_finished("node")["id"] == "a"
    supervisor.command("a", "resume")
    reach(supervisor, "a", "finished")
    until(lambda: target.read_text() == "dog at 500", "the newer copy")
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["dog.safetensors"]
    with pytest.raises(UserError, match="finished"):
        supervisor.command("a", "resume")


def test_a_job_that_never_began_stops_at_once(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    add(supervisor, "b")
    assert supervisor.command("b", "stop")["phase"] == "stopped"
    assert supervisor.view("b")["adapter"] is None
    supervisor.command("b", "resume")
    assert supervisor.view("b")["position"] == 1


def test_deleting_removes_what_only_this_job_used(place, tmp_path):
    supervisor = place.supervisor()
    weights, sets = (place.root / name for name in ("weights", "sets"))
    for path in (weights, sets / "own", sets / "shared"):
        path.mkdir(parents=True)
        (path / "x.safetensors").write_text("x")
    outside = tmp_path / "mine.safetensors"
    outside.write_text("mine")
    own = (str(weights / "x.safetensors"), str(sets / "own"), str(outside), str(place.root))
    add(supervisor, "a", steps=LONG, uses=(*own, str(sets / "shared")))
    add(supervisor, "b", steps=LONG, uses=(str(sets / "shared"),))
    reach(supervisor, "a", "running")
    supervisor.delete("a")
    assert not (place.root / "jobs" / "a").exists()
    assert [p.name for p in sets.iterdir()] == ["shared"]
    assert list(weights.iterdir()) == []
    assert outside.read_text() == "mine"
    until(lambda: place.removed == [{"id": "a"}], "the page to hear of it")
    supervisor.delete("b")
    assert list(sets.iterdir()) == []
    assert supervisor.views() == []
    with pytest.raises(UserError, match="a job that is there"):
        supervisor.delete("a")


def test_a_worker_that_does_not_listen_is_killed(place, monkeypatch):
    monkeypatch.setattr("still_moving.training.queue.supervisor._STOP_PATIENCE_S", 0.3)
    deaf = (
        "import fcntl, os, sys, time; p = sys.argv[1]; f = open(p + '/lock', 'w');"
        "fcntl.flock(f, 2); open(p + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    place.command = lambda folder: [sys.executable, "-c", deaf, str(folder)]
    supervisor = place.supervisor()
    add(supervisor, "a")
    folder = JobFolder(supervisor.folder("a"))
    until(lambda: folder.pid.exists() and system.is_held(folder.lock), "the lock")
    supervisor.close()
    other = place.supervisor()  # not its child: known by its lock alone
    other.delete("a")
    assert not folder.path.exists()


@pytest.mark.parametrize("name", ["about.json", "job.json", "state.json", "control.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": 3}', b"\xff", b"[" * 99999])
def test_a_damaged_job_shows_as_failed_and_harms_no_other(place, name, content):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    supervisor.command("a", "pause")
    supervisor.close()
    (place.root / "jobs" / "a" / name).write_bytes(content)
    again = place.supervisor()
    view = again.view("a")
    assert (view["phase"], name in view["message"]) == ("failed", True)
    again.delete("a")
    assert again.views() == []


@pytest.mark.slow
def test_foreign_events_and_numbers_harm_nobody(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    supervisor.command("a", "stop")
    folder = JobFolder(supervisor.folder("a"))
    until(lambda: supervisor.view("a")["phase"] == "stopped")
    folder.events.write_text(
        '{"event": "step"}\n{"event": "step", "stage": 1e400, "step": "x", "loss": NaN}\n3\n'
        '{"event": "step", "stage": 0, "step": 4, "loss": NaN, "loss_average": 2, "eta_s": NaN}\n'
        '{"event": "held_out", "stage": -5, "step": 4, "loss": 1}\n\x00\n{"event": ["step"]}\n'
    )
    folder.write_state(State("stopped", -7, 3, 9))
    until(lambda: supervisor.view("a")["average"] == [[4, 2.0]], "the good line")
    json.dumps(supervisor.views(), allow_nan=False)


@pytest.mark.slow
def test_a_folder_that_goes_away_is_forgotten(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    system.remove_tree(place.root / "jobs" / "a")
    until(lambda: place.removed == [{"id": "a"}], "the loss to be noticed")
    add(supervisor, "b")
    reach(supervisor, "b", "finished")


def test_what_is_no_job_is_left_alone(place):
    jobs = place.root / "jobs"
    for name in ("holiday pictures", ".hidden", "x" * 121):
        (jobs / name).mkdir(parents=True)
    (jobs / "file").write_text("mine")
    (jobs / f"{system.REMOVED}a.1").mkdir()
    supervisor = place.supervisor()
    assert supervisor.views() == []
    names = {path.name for path in jobs.iterdir()}
    assert names == {"holiday pictures", ".hidden", "x" * 121, "file"}


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\\b", ".a", "a..b", "ä", "x" * 121, "a b"])
def test_an_id_is_no_path(place, id):
    assert not is_id(id)
    supervisor = place.supervisor()
    for call in (supervisor.view, supervisor.delete, supervisor.log, supervisor.folder):
        with pytest.raises(UserError, match="id"):
            call(id)
    job = Job("dog", motion_recipe(), "/a/base", "/a/mm", {"frames": "/a/set"})
    with pytest.raises(UserError, match="id"):
        supervisor.add(job, Ticket(id, "dog", "motion", "node", 0.0))


def test_a_job_whose_files_went_with_another_is_refused(place):
    supervisor = place.supervisor()
    with pytest.raises(UserError, match="what this job needs"):
        add(supervisor, "a", uses=(str(place.root / "weights" / "gone.safetensors"),))
    assert supervisor.views() == []


def test_commands_from_many_threads_leave_one_whole_job(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")

    def press() -> None:
        for what in ("pause", "resume", "save", "sample"):
            supervisor.command("a", what)

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    control = JobFolder(supervisor.folder("a")).read_control()
    assert (control.save, control.sample) == (8, 8)
    with pytest.raises(UserError, match="command"):
        supervisor.command("a", "../x")


def test_a_curve_keeps_its_whole_history_in_few_points():
    series = Series(limit=8)
    for step in range(1, 1001):
        series.add(step, float(step))
        points = series.points()
        assert len(points) <= 8
        assert points[-1][0] == step
        assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert sum(value for _, value in series.points()[:-1]) > 0
    assert series.points()[0][1] == (1 + series.width) / 2  # a mean over the first steps
    series.add(1001, None)
    assert series.points() == points


def test_a_history_read_in_pieces_is_the_one_read_at_once(tmp_path):
    folder = JobFolder(tmp_path)
    piecewise = History(tmp_path, (50, 50))
    for step in range(1, 300):
        folder.report("step", stage=0, step=step, loss=1.0 / step, loss_average=0.5)
        if step % 7 == 0:
            piecewise.update()
        if step == 150:
            folder.cut_events(0, 100)  # a new life begins at its checkpoint
    piecewise.update()
    whole = History(tmp_path, (50, 50))
    whole.update()
    assert piecewise.loss.points() == whole.loss.points()
    assert piecewise.last == whole.last
    folder.events.open("a").write('{"event": "step", "st')
    version = whole.version
    whole.update()
    assert (whole.version, whole.last["step"]) == (version, 299)


def test_a_job_and_its_about_survive_a_round_trip(tmp_path):
    from still_moving.training.jobs.ticket import read_ticket

    (tmp_path / "a").mkdir()
    ticket = Ticket("a", "Ünï", "spatial", "node", 1.5, "keep", "/x/y", ("/u",))
    ticket.write(tmp_path / "a")
    assert read_ticket(tmp_path / "a") == ticket
    dataclasses.replace(ticket, id="b").write(tmp_path / "a")
    with pytest.raises(UserError, match="the folder's name"):
        read_ticket(tmp_path / "a")
