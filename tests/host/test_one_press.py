"""One press of Train Spatial Adapter also trains the Motion Adapter that it takes."""

import json

import pytest

from helpers.host.training_graph import both_graph, ended, node, pressed
from still_moving.nodes.train.one_press import ask_givers

STEPS, LONG = 1, 50_000
GIVER = "the giver"


def jobs_of(server, uid: str) -> list[str]:
    """The ids of a node's jobs, newest first."""
    return [job["id"] for job in server.get("/still_moving/jobs")["jobs"] if job["uid"] == uid]


def press(server, prompt: dict, token: str, uid: str) -> dict:
    """Press Train on the Spatial Adapter's node alone; its job."""
    (id,) = server.run(pressed(prompt, token, uid))["train"]["still_moving_job"]
    return server.get(f"/still_moving/jobs/{id}")


@pytest.fixture
def both(server) -> tuple[dict, dict]:
    """The jobs of one press, after a plain Run that ComfyUI remembers."""
    prompt = both_graph(STEPS, "one press", STEPS, GIVER)
    ran = server.run(prompt)
    assert "press Train" in ran["motion"]["text"][0]
    assert jobs_of(server, GIVER) == []
    spatial = press(server, prompt, "one press", "taker")
    (motion,) = jobs_of(server, GIVER)
    return ended(server, motion), spatial


def test_one_press_trains_both_the_one_that_is_taken_first(server, both):
    motion, spatial = both
    assert spatial["waits_for"] == {"id": motion["id"], "name": motion["name"], "state": "coming"}
    assert motion["phase"] == "finished", motion["message"]
    spatial = ended(server, spatial["id"])
    assert spatial["phase"] == "finished", spatial["message"]
    job = server.base / "user" / "still_moving" / "jobs" / spatial["id"] / "job.json"
    with open(json.loads(job.read_text(encoding="utf-8"))["adapters"]["motion"], "rb") as taken:
        adapter = server.base / "models" / "animatediff_motion_lora" / motion["adapter"]
        assert taken.read() == adapter.read_bytes()
    # The same press again, and another one once there is an adapter: no further Motion Adapter.
    assert press(server, both_graph(1, "one press", 1, GIVER), "one press", "taker") == spatial
    third = press(server, both_graph(1, "third", 1, GIVER), "third", "another taker")
    assert third["waits_for"] is None
    assert jobs_of(server, GIVER) == [motion["id"]]
    server.delete(f"/still_moving/jobs/{third['id']}")


def test_a_press_while_the_other_one_trains_starts_its_own_job_alone(server):
    prompt = both_graph(1, "in vain", LONG, "at work")
    prompt["train"], taker = prompt["motion"], prompt["train"]
    (motion,) = server.run(pressed(prompt, "first of two", "at work"))["train"]["still_moving_job"]
    server.post(f"/still_moving/jobs/{motion}/pause", {})
    prompt["motion"], prompt["train"] = prompt["train"], taker
    ran = server.run(pressed(prompt, "second of two", "patient"))
    assert ran["train"]["text"][0].endswith(": waits for in vain motion")
    spatial = server.get(f"/still_moving/jobs/{ran['train']['still_moving_job'][0]}")
    assert spatial["waits_for"] == {"id": motion, "name": "in vain motion", "state": "paused"}
    assert jobs_of(server, "at work") == [motion]
    for id in (spatial["id"], motion):
        server.delete(f"/still_moving/jobs/{id}")


def asked(prompt: object) -> object:
    """Which press reaches the other trainer."""
    request = {"prompt": json.loads(json.dumps(prompt)), "client_id": "page"}
    result = ask_givers(request)
    assert result["client_id"] == "page"
    return result["prompt"]["motion"]["inputs"].get("asked_by")


def test_only_a_press_of_who_takes_its_adapter_reaches_the_other_one():
    prompt = both_graph(1, "it", 1, "giver")
    assert asked(prompt) is None
    assert asked(pressed(prompt, "a press")) == "a press"
    prompt["train"]["inputs"]["motion_adapter"] = ["motion", 1]  # its status
    assert asked(prompt) is None
    prompt["train"]["inputs"]["motion_adapter"] = "a file.safetensors"
    assert asked(prompt) is None
    prompt["train"]["inputs"]["motion_adapter"] = ["world", 0]
    assert asked(prompt) is None


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        [],
        {"1": None},
        {"1": node("TrainSpatialAdapter", run_token="x", motion_adapter=["gone", 0])},
        {"1": node("TrainSpatialAdapter", run_token="x", motion_adapter=[["1"], 0])},
        {"1": {"class_type": "StillMovingTrainSpatialAdapter", "inputs": 3}},
        {"1": {"class_type": "StillMovingTrainSpatialAdapter"}},
    ],
)
def test_what_is_no_prompt_is_left_to_comfyui(prompt):
    assert ask_givers({"prompt": prompt}) == {"prompt": json.loads(json.dumps(prompt))}
