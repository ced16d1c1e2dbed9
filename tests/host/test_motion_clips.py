"""Motion from clips in ComfyUI: trained from the node, and refused before it is trained in vain."""

import asyncio

import pytest

from helpers.host import world
from helpers.host.training_graph import WISHES, choices, clips_graph, ended, pressed
from still_moving import comfy_entrypoint
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.motion_weights import (
    load_motion_weights,
)
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_weights import apply_to_model
from still_moving.nodes.shared import folders


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


PUBLISHED = {
    "Customize-A-Video": (folders.MOTION_ADAPTERS, "StillMovingApplyMotionAdapter"),
    "VMC": (folders.MOTION_WEIGHTS, "StillMovingApplyMotionWeights"),
    "NewMove": (folders.MOTION_WEIGHTS, "StillMovingApplyMotionWeights"),
}


@pytest.fixture(scope="module")
def jobs(server) -> dict[str, dict]:
    """A finished job of each method."""
    begun = {
        method: server.run(pressed(clips_graph(method), f"press {method}", method))["train"]
        for method in WISHES
    }
    return {name: ended(server, out["still_moving_job"][0]) for name, out in begun.items()}


@pytest.mark.parametrize("method", WISHES)
def test_a_press_of_train_makes_what_loaders_offer(server, jobs, method):
    job, (folder, loader) = jobs[method], PUBLISHED[method]
    assert (job["phase"], job["step"]) == ("finished", 3), job["message"]
    assert job["adapter"] == f"my {method}.safetensors"
    assert job["adapter"] in choices(server, loader)
    file, moving = server.base / "models" / folder / job["adapter"], world.moving()
    if folder == folders.MOTION_ADAPTERS:
        adapter = load_adapter(file, kind="motion")
        assert adapter.info.steps == 3
        moved, warnings = apply_motion_adapter(moving, adapter, 1.0, job["adapter"])
    else:
        weights = load_motion_weights(file)
        assert (weights.info.steps, weights.info.token) == (3, WISHES[method].get("token", ""))
        moved, warnings = apply_to_model(moving, weights, 1.0, job["adapter"])
    assert warnings == []
    assert world.difference(world.sample(moved), world.sample(moving)) > 1e-6


def test_trained_words_lie_where_clip_looks_for_them(server, jobs):
    assert jobs["Customize-A-Video"]["phase"] == "finished"
    files = list((server.base / "models" / "embeddings").glob("*.safetensors"))
    assert not any(" " in file.name for file in files)
    # Jobs of the example workflows may have left theirs.
    assert ("red", "circle") in [load_embedding(file).words for file in files]


def test_the_memory_is_said_before_it_is_taken(server, jobs):
    log = server.log.read_text(encoding="utf-8")
    assert "Memory, appearance:" in log
    assert log.count("Memory, motion:") >= 3


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("Customize-A-Video", {"words": "red"}, "words"),
        ("Customize-A-Video", {"words": "red, square"}, "no 'square'"),
        ("VMC", {"prompt": "red circle left night " * 9}, "36 words, expected at most"),
        ("Customize-A-Video", {"appearance": "red circle left night"}, "nothing about a motion"),
        ("Customize-A-Video", {"absorber": "file"}, "absorber_file"),
        ("VMC", {"prompt": "circle"}, "nothing about a motion"),
        ("NewMove", {"token": "dance"}, "common word"),
        ("NewMove", {"prompt": "red circle night"}, "no 'pll'"),
        ("NewMove", {"name": "../out"}, "plain name"),
        ("VMC", {"frames": 16}, "frames"),
    ],
)
def test_what_would_spoil_a_training_is_said_before_it(server, method, changes, message):
    before = len(server.get("/still_moving/jobs")["jobs"])
    with pytest.raises(RuntimeError, match=message):
        server.run(pressed(clips_graph(method, **changes), f"bad {method} {changes}", "bad"))
    assert len(server.get("/still_moving/jobs")["jobs"]) == before


@pytest.mark.parametrize("method", WISHES)
def test_an_older_workflow_trains_what_the_methods_own_node_does(server, jobs, method):
    older = clips_graph(method, older=True, name=f"older {method}")
    begun = server.run(pressed(older, f"press older {method}", f"older {method}"))["train"]
    job = ended(server, begun["still_moving_job"][0])
    assert (job["phase"], job["kind"]) == ("finished", jobs[method]["kind"]), job["message"]
    assert job["loss"] == jobs[method]["loss"]
