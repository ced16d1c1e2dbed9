"""Training from nodes on a started ComfyUI: Run and Train, the queue, and what routes answer."""

import json
import re
import string
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.host.training_graph import (
    choices,
    ended,
    motion_graph,
    node,
    pressed,
    spatial_graph,
)
from still_moving.adapters.files.adapter import load_adapter
from still_moving.nodes.shared import jobs
from still_moving.training.jobs.job import Job
from still_moving.training.recipes.presets import make_recipe

STEPS = 3


def ask(server, method: str, path: str, body: bytes | None = None) -> tuple[int, dict]:
    """(status, JSON) of a request to the pack's routes."""
    request = urllib.request.Request(f"{server.url}{path}", data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        text = refusal.read()
        return refusal.code, json.loads(text) if text.startswith(b"{") else {}


@pytest.fixture(scope="module")
def motion_job(server) -> dict:
    prompt = pressed(motion_graph(STEPS, "from a test"), "first")
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    return ended(server, id)


@pytest.mark.every_comfyui
def test_a_plain_run_trains_nothing_and_draws_nothing(server):
    outputs = server.run(motion_graph(STEPS, "never"))
    assert "press Train" in outputs["train"]["text"][0]
    assert "clips" not in outputs
    assert all(job["name"] != "never" for job in server.get("/still_moving/jobs")["jobs"])


@pytest.mark.every_comfyui
def test_a_press_of_train_makes_an_adapter_that_loaders_offer(server, motion_job):
    assert (motion_job["phase"], motion_job["step"]) == ("finished", STEPS), motion_job
    assert [step for step, _ in motion_job["loss"]] == list(range(1, STEPS + 1))
    assert motion_job["adapter"] == "from a test.safetensors"
    assert motion_job["adapter"] in choices(server, "StillMovingApplyMotionAdapter")
    file = server.base / "models" / "animatediff_motion_lora" / motion_job["adapter"]
    assert load_adapter(file, kind="motion").info.steps == STEPS


def test_a_long_training_is_seen_on_its_way(server, motion_job):
    """A stage of four samples at least is seen, and this short one pays for none."""
    assert motion_job["samples"] == []
    spec = server.base / "user" / "still_moving" / "jobs" / motion_job["id"] / "job.json"
    job = Job.from_json(spec.read_text(encoding="utf-8"))
    assert job.sample_every > STEPS
    longer = replace(job, recipe=make_recipe("motion", "paper"))
    steps = longer.recipe.stages[0].steps
    assert steps / 5 < jobs.steps_between_samples(longer) <= steps / 4


def test_a_run_gives_the_newest_adapter_of_this_node(server, motion_job):
    prompt = motion_graph(STEPS, "another name")
    prompt["train"]["inputs"]["node_uid"] = motion_job["uid"]
    prompt["world2"] = node("LoadShapesWorld")
    prompt["slider"] = node("ApplyMotionAdapter", model=["moving", 0], file=["train", 0], scale=1.0)
    prompt["shown"] = {"class_type": "PreviewAny", "inputs": {"source": ["train", 0]}}
    outputs = server.run(prompt)
    assert "finished" in outputs["train"]["text"][0]
    assert outputs["shown"]["text"] == [motion_job["adapter"]]


def test_the_same_token_starts_one_job(server, motion_job):
    before = len(server.get("/still_moving/jobs")["jobs"])
    server.run(pressed(motion_graph(STEPS, "from a test"), "first"))
    assert len(server.get("/still_moving/jobs")["jobs"]) == before


def test_a_spatial_adapter_uses_the_motion_adapter(server, motion_job):
    prompt = pressed(spatial_graph(STEPS, "my look", motion_job["adapter"]), "second", "other")
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    job = ended(server, id)
    assert job["phase"] == "finished", job["message"]
    assert job["adapter"] in choices(server, "StillMovingApplySpatialAdapter")


def test_stop_keeps_what_was_learned_and_delete_removes_it_all(server):
    prompt = pressed(motion_graph(10_000, "too long"), "third", "third")
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    server.wait_until(lambda: server.get(f"/still_moving/jobs/{id}")["step"] > 1)
    assert ask(server, "POST", f"/still_moving/jobs/{id}/stop")[0] == 200
    stopped = ended(server, id)
    assert stopped["phase"] == "stopped"
    assert stopped["adapter"] == "too long.safetensors"
    assert ask(server, "GET", f"/still_moving/jobs/{id}/log")[0] == 200
    assert ask(server, "DELETE", f"/still_moving/jobs/{id}") == (200, {"removed": id})
    assert ask(server, "GET", f"/still_moving/jobs/{id}")[0] == 404


def begun(server, token: str, count: int) -> str:
    """A job on a set of its own: no other test draws this many clips."""
    prompt = pressed(motion_graph(10_000, "of its own", count), token, "its own")
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    return id


def test_what_only_this_job_used_goes_with_it_and_is_made_again(server, motion_job):
    user = server.base / "user" / "still_moving"
    kept = {path for name in ("weights", "sets", "pictures") for path in (user / name).iterdir()}
    id = begun(server, "fifth", count=2)
    used = {
        Path(path)
        for path in json.loads((user / "jobs" / id / "about.json").read_text(encoding="utf-8"))[
            "uses"
        ]
    }
    assert {path.parent.name for path in used} == {"weights", "sets", "pictures"}
    ask(server, "DELETE", f"/still_moving/jobs/{id}")
    assert {path for path in used if path.exists()} == used & kept
    assert all(path.exists() for path in kept)  # another job's
    # ComfyUI remembers the set, and must make it anew.
    again = begun(server, "sixth", count=2)
    assert ask(server, "DELETE", f"/still_moving/jobs/{again}")[0] == 200


def test_the_disk_space_is_said_before_it_is_taken(server, motion_job):
    assert re.search(
        r"model's weights on disk: \d+ MiB of [\d.]+ GiB free",
        server.log.read_text(encoding="utf-8"),
    )


def test_a_name_is_no_path(server):
    prompt = pressed(motion_graph(STEPS, "../../out"), "fourth")
    with pytest.raises(RuntimeError, match="plain name"):
        server.run(prompt)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/still_moving/jobs/nothing-here", None, 404),
        ("GET", "/still_moving/jobs/..%2F..%2Fetc", None, 400),
        ("POST", "/still_moving/jobs/nothing-here/stop", b"", 404),
        ("DELETE", "/still_moving/jobs/%2e%2e", None, 400),
        ("POST", "/still_moving/queue", b"no json", 400),
        ("POST", "/still_moving/queue", b'{"order": "x"}', 400),
        ("POST", "/still_moving/queue", b'{"order": ["../x"]}', 400),
        ("POST", "/still_moving/queue", b"[" * 100_000, 400),
        ("POST", "/still_moving/queue", b'{"order": [' + b" " * 300_000 + b"]}", 400),
    ],
)
def test_bad_requests_are_answered_in_a_line(server, method, path, body, status):
    answered, answer = ask(server, method, path, body)
    assert answered in (status, 404, 405)  # the server itself refuses some paths
    if answered == status:
        assert "expected" in answer["error"]


def test_requests_of_any_kind_never_crash_the_server(server, motion_job, dice):
    before = sorted(p for p in server.base.rglob("*") if "browser" not in p.parts)
    for _ in range(150):
        path = "".join(dice.choices(string.printable[:94].replace("/", "") + "é\\/..", k=12))
        ending = dice.choice(["", "/log", "/stop", "/open/", "/samples/1.webp", f"/{path}"])
        url = f"/still_moving/jobs/{urllib.parse.quote(path, safe='')}{ending and ending[:40]}"
        method = dice.choice(["GET", "POST", "DELETE", "PUT"])
        status, _ = ask(server, method, urllib.parse.quote(url, safe="/%"), b"{}")
        assert status in (400, 404, 405), url
    assert server.get("/still_moving/jobs")["jobs"]
    after = sorted(p for p in server.base.rglob("*") if "browser" not in p.parts)
    assert [p for p in after if p not in before and p.suffix not in (".db", ".log")] == []
