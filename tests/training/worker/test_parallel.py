"""Several processes train one job as one process with the whole batch does."""

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

from helpers.small import (
    PATIENCE_S,
    ROOT,
    curve,
    differences,
    environment,
    learned,
    motion_recipe,
    new_job,
    spatial_recipe,
    wait_for,
    write_files,
)
from helpers.under_wine import UNDER_WINE
from still_moving.training.jobs.job import JobFolder
from still_moving.training.recipes.recipe import Recipe
from still_moving.training.stage.team import Team, _buckets, backend, meeting_place
from still_moving.training.worker.failure import FINISHED
from still_moving.training.worker.session import run_job

# "multi_gpu" is how accelerate starts several processes on one machine; these ones meet by gloo.
LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("files"))


NOT_IN_WINE = pytest.mark.skipif(
    UNDER_WINE, reason="Wine ends a process that opens torch's TCPStore, where processes meet"
)
pytestmark = pytest.mark.usefixtures("one_thread")


def launch(job: JobFolder) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [*LAUNCH, str(ROOT / "__main__.py"), "train", "work", str(job.path)]
    return subprocess.Popen(
        command, env=environment(), stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
    )


def finished(job: JobFolder) -> None:
    child = launch(job)
    try:
        _, err = child.communicate(timeout=PATIENCE_S)
    finally:
        child.terminate()
    assert child.returncode == 0, err[-3000:]
    assert job.phase() == "finished"


def doubled(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, batch=2 * recipe.batch)


@NOT_IN_WINE
@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [motion_recipe(save_every=2, held_out_every=3), spatial_recipe(ema=0.9)],
    ids=["motion", "spatial"],
)
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path, files, recipe):
    """Bit for bit: with a sample each, the sum of two is the same in any order."""
    one = new_job(tmp_path / "one", doubled(recipe), files)
    two = new_job(tmp_path / "two", recipe, files)
    assert run_job(one) == FINISHED
    finished(two)
    assert differences(learned(one), learned(two)) == []
    assert curve(one) == curve(two)
    kinds = [[e["event"] for e in job.read_events()] for job in (one, two)]
    assert kinds[0] == kinds[1]


@NOT_IN_WINE
@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(tmp_path, files):
    job = new_job(tmp_path / "job", motion_recipe(steps=100_000, batch=2), files)
    child = launch(job)
    try:
        wait_for(
            lambda: any(event["event"] == "step" for event in job.read_events()), child, "a step"
        )
        job.send("pause")
        wait_for(lambda: job.phase() == "paused", child, "pausing")
        job.send("run")
        wait_for(lambda: job.phase() == "running", child, "running")
        job.send("stop")
        _, err = child.communicate(timeout=PATIENCE_S)
    finally:
        child.terminate()
    assert (child.returncode, job.phase()) == (0, "stopped"), err[-3000:]
    steps = [event["step"] for event in job.read_events() if event["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert learned(job)


@NOT_IN_WINE
@pytest.mark.slow
def test_memory_that_one_process_lacks_repeats_the_step_in_all():
    script = str(ROOT / "tests" / "helpers" / "scarce_team.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    team = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    places = [{}, {**team, "RANK": "0"}, {**team, "RANK": "1"}]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [
        subprocess.Popen([sys.executable, script], env=environment(**place), **pipe)
        for place in places
    ]
    done = [child.communicate(timeout=PATIENCE_S) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], done
    one, first, last = (out.split() for out, _ in done)
    assert one[0] == first[0] == last[0]
    assert (first[1], last[1]) == ("none", "top")


@pytest.mark.parametrize(
    ("device", "nccl", "expected"),
    [
        ("cpu", False, {"cpu": "gloo"}),
        ("cpu", True, {"cpu": "gloo"}),
        ("cuda", True, {"cpu": "gloo", "cuda": "nccl"}),
        ("cuda", False, {"cpu": "gloo", "cuda": "gloo"}),  # as on Windows
    ],
)
def test_processes_speak_by_what_torch_has(device, nccl, expected):
    """The first says what is wanted to all on the CPU; gradients go from where they are."""
    spoken: Any = backend(device, nccl)
    devices = dist.distributed_c10d.BackendConfig(spoken).get_device_backend_map()
    assert {name: devices[name] for name in expected} == expected


def test_windows_meets_without_libuv_unless_somebody_chose():
    assert meeting_place(True, {}) == {"USE_LIBUV": "0"}
    assert meeting_place(True, {"USE_LIBUV": "1"}) == {}
    assert meeting_place(False, {}) == {}


def test_shares_cover_the_doubled_batch_once():
    for step in range(3):
        shares = [n for rank in range(3) for n in Team(rank, 3).share(step, 2)]
        assert shares == list(Team().share(step, 6))


def test_gradients_travel_in_order_and_none_is_left_out():
    tensors = [torch.zeros(size) for size in (3, 2**24, 5, 7, 2**23, 2**23, 1)]
    buckets = _buckets(tensors)
    assert [id(t) for bucket in buckets for t in bucket] == [id(t) for t in tensors]
    assert len(buckets) < len(tensors)
    assert all(sum(t.numel() for t in bucket) <= 2**24 for bucket in buckets)
