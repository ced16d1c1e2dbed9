"""What others leave among the jobs: damaged and foreign files, names that are no ids."""

import dataclasses
import json

import pytest

from helpers.queue_place import LONG, add, reach, until
from helpers.small import motion_recipe
from still_moving.common import files, system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Job, JobFolder, State
from still_moving.training.jobs.ticket import Ticket, is_id


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
        '{"event": "held_out", "stage": -5, "step": 4, "loss": 1}\n\x00\n{"event": ["step"]}\n',
        encoding="utf-8",
    )
    folder.write_state(State("stopped", -7, 3, 9))
    until(lambda: supervisor.view("a")["average"] == [[4, 2.0]], "the good line")
    json.dumps(supervisor.views(), allow_nan=False)


@pytest.mark.slow
def test_a_folder_that_goes_away_is_forgotten(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    reach(supervisor, "a", "running")
    files.remove_tree(place.root / "jobs" / "a")
    until(lambda: place.removed == [{"id": "a"}], "the loss to be noticed")
    add(supervisor, "b")
    reach(supervisor, "b", "finished")


def test_what_is_no_job_is_left_alone(place):
    jobs = place.root / "jobs"
    for name in ("holiday pictures", ".hidden", "x" * 121):
        (jobs / name).mkdir(parents=True)
    (jobs / "file").write_text("mine", encoding="utf-8")
    new = (".new-0123abcd.tmp", ".new-a")  # of this version and of an older one
    for name in (".removed-a.1", ".old-0123abcd.tmp", *new):
        (jobs / name).mkdir()
        (jobs / name / "job.json").touch()
    supervisor = place.supervisor()
    assert supervisor.views() == []
    mine = {"holiday pictures", ".hidden", "x" * 121, "file", *new}
    until(lambda: {path.name for path in jobs.iterdir()} == mine, "the rest to go")


NO_IDS = ["", ".", "..", "a/b", "a\\b", ".a", "a..b", "ä", "x" * 121, "a b"]


@pytest.mark.parametrize("id", NO_IDS)
def test_an_id_is_no_path(place, id):
    assert not is_id(id)
    supervisor = place.supervisor()
    for call in (supervisor.view, supervisor.delete, supervisor.log, supervisor.folder):
        with pytest.raises(UserError, match="id"):
            call(id)
    job = Job("dog", motion_recipe(), "/a/base", "/a/mm", {"frames": "/a/set"})
    with pytest.raises(UserError, match="id"):
        supervisor.add(job, Ticket(id, "dog", "motion", "node", 0.0))


@pytest.mark.parametrize("id", ["con", "nul.x", "COM1", "a."])
def test_a_new_id_is_a_file_s_name_on_every_system_and_an_old_one_is_read(place, id):
    job = Job("dog", motion_recipe(), "/a/base", "/a/mm", {"frames": "/a/set"})
    ticket = Ticket(id, "dog", "motion", "node", 0.0)
    supervisor = place.supervisor()
    with pytest.raises(UserError, match="id"):
        supervisor.add(job, ticket)
    with pytest.raises(UserError, match="Windows keeps"):
        supervisor.add(dataclasses.replace(job, name="aux"), dataclasses.replace(ticket, id="a"))
    if system.WINDOWS:
        return  # where no such folder can be
    folder = place.root / "jobs" / id
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(job.to_json(), encoding="utf-8")
    ticket.write(folder)
    assert "this one looks on" in place.supervisor().view(id)["message"]


def test_two_ids_are_two_folders_on_every_disk(place):
    supervisor = place.supervisor()
    add(supervisor, "a", steps=LONG)
    supervisor.command("a", "pause")
    for id in ("a", "A"):
        with pytest.raises(UserError, match="a new plain name"):
            add(supervisor, id)


def test_a_job_whose_files_went_with_another_is_refused(place):
    supervisor = place.supervisor()
    with pytest.raises(UserError, match="what this job needs"):
        add(supervisor, "a", uses=(str(place.root / "weights" / "gone.safetensors"),))
    assert supervisor.views() == []
