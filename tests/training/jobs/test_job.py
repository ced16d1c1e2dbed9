"""Job folders: what both sides write and read, whole, torn or damaged."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.small import ROOT, environment, motion_recipe
from still_moving.common import files, system
from still_moving.common.errors import UserError
from still_moving.training.jobs.job import Control, Job, JobFolder, State
from still_moving.training.jobs.phase import ENDED, LIVING

JOB = Job("my dog", motion_recipe(), "/a/base.safetensors", "/a/mm.ckpt", {"frames": "/a/set"})
paths = st.text(min_size=1, max_size=30)


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    return JobFolder.create(tmp_path / "job", JOB)


@pytest.mark.slow
@given(
    paths,
    st.dictionaries(st.text(max_size=9), paths),
    st.dictionaries(st.text(max_size=9), paths),
    st.sampled_from(["auto", "cpu", "cuda"]),
)
def test_json_round_trip(path, sets, adapters, device):
    job = Job("a name", motion_recipe(), path, path, sets, adapters, device)
    assert Job.from_json(job.to_json()) == job


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("name", "../up", "name"),
        ("name", 3, "name"),
        ("recipe", {}, "recipe"),
        ("recipe", None, "recipe"),
        ("checkpoint", None, "checkpoint"),
        ("sets", [], "sets"),
        ("sets", {"frames": 3}, "sets.frames"),
        ("device", "tpu", "device"),
        ("strength", 1, "'strength'"),
    ],
)
def test_a_bad_field_is_refused_by_its_name(field, value, named):
    data = {**json.loads(JOB.to_json()), field: value}
    with pytest.raises(UserError, match=r"job\.json") as refusal:
        Job.from_json(json.dumps(data))
    assert named in str(refusal.value)


def test_the_recipes_numbers_are_checked_too():
    data = json.loads(JOB.to_json())
    data["recipe"]["stages"][0]["lr"] = -1
    with pytest.raises(UserError, match="lr"):
        Job.from_json(json.dumps(data))


def test_a_job_is_written_once(folder):
    assert JobFolder(folder.path).load() == JOB
    with pytest.raises(UserError, match="a new folder"):
        JobFolder.create(folder.path, JOB)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="file"):
            JobFolder.create(path, JOB)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_folder_without_a_job_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected a job"):
        JobFolder(tmp_path).load()


def test_commands_leave_each_other_alone(folder):
    assert folder.read_control() == Control()
    folder.send("pause")
    folder.send(save=True)
    folder.send(save=True)
    assert folder.read_control() == Control("pause", 2)
    folder.send("run")
    assert folder.read_control() == Control("run", 2)


def test_what_sharing_asks_is_read_as_written_and_as_earlier_versions_wrote_it(folder):
    assert folder.read_sharing() == "run"
    for sharing in ("keep", "yield", "leave", "run"):
        folder.share(sharing)
        assert json.loads(folder.sharing.read_text(encoding="utf-8")) == {"sharing": sharing}
        assert folder.read_sharing() == sharing
    folder.sharing.write_text('{"sharing": "hold"}', encoding="utf-8")
    assert folder.read_sharing() == "keep"
    folder.sharing.write_text('{"sharing": "share"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"sharing\.json"):
        folder.read_sharing()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"wanted": "fly"}', b"\xff", b"[" * 99999])
def test_a_damaged_control_or_state_file_is_refused_by_name(folder, content):
    for path, read in (
        (folder.control, folder.read_control),
        (folder.state, folder.read_state),
        (folder.spec, folder.load),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=path.name):
            read()


def test_a_phase_without_a_worker_is_an_interruption(folder):
    assert folder.phase() == "queued"
    for phase in LIVING:
        folder.write_state(State(phase, step=3, steps=9))
        assert folder.phase() == "interrupted"
        with system.exclusive(folder.lock) as held:
            assert held
            assert folder.phase() == phase
    for phase in ENDED:
        folder.write_state(State(phase))
        assert folder.phase() == phase


@pytest.mark.slow
def test_a_lock_dies_with_its_process(folder):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from helpers.pack import load_pack; load_pack()\n"
        "from still_moving.common import system\n"
        "from pathlib import Path\n"
        "with system.exclusive(Path(sys.argv[1])) as held:\n"
        "    print(held, flush=True); time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.lock)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        encoding="utf-8",
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    assert system.is_held(folder.lock)
    with system.exclusive(folder.lock, patience_s=0.1) as held:
        assert not held
    child.kill()
    child.communicate()
    assert not system.is_held(folder.lock)
    with system.exclusive(folder.lock, patience_s=0.0) as held:
        assert held


def test_looking_at_a_lock_does_not_take_it(folder):
    assert not system.is_held(folder.lock)
    assert not folder.lock.exists()  # nor make one
    with system.exclusive(folder.lock):
        assert system.is_held(folder.lock)
    assert not system.is_held(folder.lock)


def test_a_lock_is_seen_in_a_file_that_nobody_may_write(folder):
    folder.lock.touch()
    with system.exclusive(folder.lock):
        folder.lock.chmod(0o444)
        assert system.is_held(folder.lock)
    assert not system.is_held(folder.lock)
    folder.lock.chmod(0o644)


def test_a_disk_without_locks_is_told_from_a_lock_that_is_taken(folder, monkeypatch):
    def none(_descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(system, "_lock", none)
    with pytest.raises(UserError, match="no lock"), folder.owned():
        pass
    folder.lock.touch()
    with pytest.raises(OSError, match="No locks"):
        system.is_held(folder.lock)


def test_a_deleted_job_has_no_worker(folder):
    folder.deleted.touch()
    with pytest.raises(UserError, match="a deleted job"), folder.owned():
        pass


def test_a_worker_clears_away_what_was_left_half_written(folder):
    left = folder.path / f"{files.NEW}{'0' * 8}.tmp"
    left.touch()
    os.utime(left, (0, 0))
    with folder.owned():
        assert not left.exists()


def test_events_come_back_in_order(folder):
    assert list(folder.read_events()) == []
    for step in range(5):
        folder.report("step", step=step, loss=step / 3)
    assert [e["step"] for e in folder.read_events()] == [0, 1, 2, 3, 4]
    assert [e["loss"] for e in folder.read_events()] == [step / 3 for step in range(5)]


def test_a_torn_line_is_left_out(folder):
    folder.report("step", step=1)
    whole = folder.events.read_bytes()
    for cut in range(1, len(whole)):
        folder.events.write_bytes(whole + whole[:cut].rstrip(b"\n"))
        assert [e["step"] for e in folder.read_events()] == [1]


def test_an_event_is_json_for_every_reader(folder):
    """JavaScript knows no NaN: one bad loss would hide the whole line."""
    reported = folder.report("skipped", loss=float("nan"), grad_norm=float("inf"), step=2)
    assert (reported["loss"], reported["grad_norm"], reported["step"]) == (None, None, 2)
    text = folder.events.read_text(encoding="utf-8")

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(text, parse_constant=refuse) == reported


@given(st.integers(0, 2), st.integers(0, 9))
def test_cut_events_end_at_the_checkpoint(tmp_path_factory, stage, step):
    folder = JobFolder(tmp_path_factory.mktemp("job"))
    for s in range(3):
        for n in range(5):
            folder.report("step", stage=s, step=n)
    folder.cut_events(stage, step)
    expected = [(s, n) for s in range(3) for n in range(5) if (s, n) <= (stage, step)]
    assert [(e["stage"], e["step"]) for e in folder.read_events()] == expected


def test_state_round_trip(folder):
    state = State("running", 1, 7, 20, "words")
    folder.write_state(state)
    assert folder.read_state() == state
    assert json.loads(folder.state.read_text(encoding="utf-8")) == dataclasses.asdict(state)
