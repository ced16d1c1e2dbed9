"""Motion from clips in ComfyUI: trained from the node, put into a MODEL, and inverted clips."""

import asyncio
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch

import nodes
from helpers.host import world
from helpers.host.training_graph import (
    NUMBERS,
    choices,
    ended,
    generating,
    motion_graph,
    node,
    pressed,
)
from still_moving import comfy_entrypoint
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.motion_weights import (
    MotionWeights,
    MotionWeightsInfo,
    apply_motion_weights,
    is_temporal,
    load_motion_weights,
    save_motion_weights,
)
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.adapters.host.motion_adapter import apply_motion_adapter
from still_moving.adapters.host.motion_module import apply_motion_module, load_motion_module
from still_moving.adapters.host.motion_weights import apply_to_model
from still_moving.common.errors import UserError
from still_moving.demo import world as shapes_world
from still_moving.demo.measure import measure
from still_moving.nodes.apply.motion_weights import ApplyMotionWeights
from still_moving.nodes.clips.invert import InvertClip
from still_moving.nodes.shapes_world import model as shapes
from still_moving.nodes.shapes_world.pixels import ShapesVAE
from still_moving.nodes.shapes_world.text import load_clip
from still_moving.nodes.shared import folders
from still_moving.worlds.shapes import latents
from still_moving.worlds.shapes.files import BASE, MOTION_MODULE, WEIGHTS

PREFIX = shapes.CHECKPOINT_PREFIX
STEPS, SCHEDULER = 20, "sgm_uniform"


@pytest.fixture(scope="module", autouse=True)
def registered():
    return asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())


def network() -> dict[str, torch.Tensor]:
    """Every tensor of the shapes world's network by its file name, in fp32."""
    image, _ = read_tensors(WEIGHTS / BASE)
    motion, _ = read_tensors(WEIGHTS / MOTION_MODULE)
    own = {k.removeprefix(PREFIX): t for k, t in image.items() if k.startswith(PREFIX)}
    return {name: tensor.float() for name, tensor in {**own, **motion}.items()}


def learned(form: str = "difference", **info) -> MotionWeights:
    """As NewMove changes a network, at random."""
    dice, before = torch.Generator().manual_seed(0), network()
    names = [n for n in before if is_temporal(n) and not n.endswith(".pe")]
    names += [n for n in before if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    after = {n: before[n] + 0.03 * torch.randn(before[n].shape, generator=dice) for n in names}
    made = MotionWeightsInfo("temporal.all+kv", form, "shapes", **info)  # type: ignore[arg-type]
    return MotionWeights.between(made, before, after)


def whole_files(tensors: dict[str, torch.Tensor], folder: Path):
    """A MODEL of these tensors, loaded from files as any other."""
    motion = {n: t for n, t in tensors.items() if is_temporal(n)}
    image = {f"{PREFIX}{n}": t for n, t in tensors.items() if n not in motion}
    write_tensors(folder / "motion.safetensors", motion, {})
    write_tensors(folder / "image.safetensors", image, {})
    module = load_motion_module(folder / "motion.safetensors")
    return apply_motion_module(shapes.load_model(folder / "image.safetensors"), module)


def test_at_zero_nothing_changes_at_one_it_is_the_trained_network(tmp_path):
    moving, weights = world.moving(), learned()
    before = world.sample(moving)
    (off, none), (on, _) = (apply_to_model(moving, weights, a, "it") for a in (0.0, 1.0))
    assert none == []
    assert torch.equal(world.sample(off), before)
    trained = world.sample(whole_files(apply_motion_weights(network(), weights, 1.0), tmp_path))
    made = world.sample(on)
    assert world.difference(made, trained) < 1e-5
    assert world.difference(trained, before) > 0.05
    assert torch.equal(world.sample(moving), before)  # no trace


def test_both_forms_are_the_same_line_and_leave_loras_whole():
    moving = world.moving()
    adapted, _ = apply_motion_adapter(moving, world.motion_adapter(), 1.0, "a LoRA")
    for amount in (0.5, 1.0):
        made = [
            world.sample(apply_to_model(adapted, learned(form), amount, "it")[0])
            for form in ("difference", "whole")
        ]
        assert world.difference(*made) < 1e-4
        alone = world.sample(apply_to_model(moving, learned(), amount, "it")[0])
        assert world.difference(made[0], alone) > 0.01


def test_stacked_motions_commute():
    moving, one, two = world.moving(), world.motion_adapter(1), world.motion_adapter(2)
    made = []
    for order in ((one, two), (two, one)):
        stacked = moving
        for adapter in order:
            stacked, _ = apply_motion_adapter(stacked, adapter, 1.0, "a motion")
        made.append(world.sample(stacked))
    assert world.difference(*made) < 1e-5


def test_weights_of_another_network_are_refused_and_another_module_is_named():
    other = learned(motion_module="0" * 64, motion_module_name="mm_other.ckpt")
    _, (warning,) = apply_to_model(world.moving(), other, 0.5, "dance")
    assert "mm_other.ckpt" in warning
    assert MOTION_MODULE in warning
    with pytest.raises(UserError, match="without a motion module"):
        apply_to_model(world.plain(), other, 1.0, "dance")
    lost = replace(other, tensors={"down_blocks.9.motion_modules.0.norm.bias": torch.ones(3)})
    with pytest.raises(UserError, match=r"1 of 1 layers not there.*mm_other"):
        apply_to_model(world.moving(), lost, 0.0, "dance")


def test_the_node_finds_the_file_in_its_folder():
    own = Path(folder_paths.get_folder_paths(folders.MOTION_WEIGHTS)[0])
    own.mkdir(parents=True, exist_ok=True)
    save_motion_weights(own / "dance.safetensors", learned())
    folder_paths.filename_list_cache.clear()
    assert folders.choices(folders.MOTION_WEIGHTS)[0] == "dance.safetensors"  # before the demo's
    moving = world.moving()
    (moved,) = ApplyMotionWeights.execute(moving, "dance.safetensors", 1.0).result
    assert world.difference(world.sample(moved), world.sample(moving)) > 0.05
    (own / "dance.safetensors").unlink()


def real_clip() -> torch.Tensor:
    """(frames, height, width, 3) of the shapes world."""
    scene = shapes_world.all_scenes()[0]
    frames = shapes_world.make_clip(scene, torch.Generator().manual_seed(0)).frames
    return latents.enlarge(frames).movedim(1, -1)


def generated(
    model, start: torch.Tensor, noise: bool = False, prompt: str = "", cfg: float = 1.0
) -> torch.Tensor:
    """By KSampler (Advanced), with the settings that Invert Clip states."""
    words, nothing = ([[world.text(text), {}]] for text in (prompt, ""))
    latent = {"samples": torch.zeros_like(start) if noise else start}
    (made,) = nodes.common_ksampler(
        model, 0, STEPS, cfg, "ddim", SCHEDULER, words, nothing, latent,
        disable_noise=not noise, start_step=0, last_step=10_000, force_full_denoise=True,
    )  # fmt: skip
    return made["samples"]


def test_an_inverted_clip_comes_back():
    images = real_clip()
    model, vae = world.moving(), ShapesVAE()
    clip, error = vae.encode(images), {}
    for refine in (0, 5):
        start, settings = InvertClip.execute(
            model, images, vae, load_clip(), "", STEPS, SCHEDULER, True, refine
        ).result
        assert f"steps {STEPS}" in settings
        error[refine] = world.difference(generated(model, start["samples"]), clip)
    chance = world.difference(generated(model, start["samples"], noise=True), clip)
    assert error[5] < 0.02
    assert error[5] < error[0] < chance


def test_without_its_colours_a_clip_follows_the_prompt_for_them():
    """A bright look is asked for, from the noise of a dark clip."""
    dark = shapes_world.Scene("red", "circle", "left", "night")
    frames = shapes_world.make_clip(dark, torch.Generator().manual_seed(0)).frames
    images = latents.enlarge(frames).movedim(1, -1)
    asked = dark._replace(look="sand")
    fidelity = {}
    for keep in (True, False):
        start = InvertClip.execute(
            world.moving(), images, ShapesVAE(), load_clip(), "", STEPS, SCHEDULER, keep, 0
        ).result[0]["samples"]
        made = generated(world.moving(), start, prompt=asked.prompt, cfg=2.0)
        fidelity[keep] = measure(latents.decode_world(made), asked).fidelity
    assert fidelity[False] > fidelity[True]


def test_only_clips_on_a_model_that_moves_are_inverted():
    images = real_clip()
    rest = (ShapesVAE(), load_clip(), "", 2, SCHEDULER, True, 0)
    with pytest.raises(UserError, match="without a motion module"):
        InvertClip.execute(world.plain(), images, *rest)
    with pytest.raises(UserError, match="one frame"):
        InvertClip.execute(world.moving(), images[:1], *rest)


ASKED = NUMBERS | {
    "prompt": "", "appearance": "", "token": "", "preset": "shapes world", "steps": 3, "name": "it",
    "absorber": "lora", "words": "", "absorber_file": "none", "appearance_steps": 2,
    "loss": "residual_cosine", "backward": False, "learns": "auto", "keys_values": True,
    "check_captions": True,
}  # fmt: skip
WISHES = {
    "Customize-A-Video": {
        "absorber": "both", "words": "red, circle", "appearance": "red circle night",
    },
    "VMC": {"prompt": "circle left"},
    "NewMove": {"prompt": "red circle pll night", "token": "pll"},
}  # fmt: skip
MADE = {
    "Customize-A-Video": (folders.MOTION_ADAPTERS, "StillMovingApplyMotionAdapter"),
    "VMC": (folders.MOTION_WEIGHTS, "StillMovingApplyMotionWeights"),
    "NewMove": (folders.MOTION_WEIGHTS, "StillMovingApplyMotionWeights"),
}


def clips_graph(method: str, **asked) -> dict:
    """Train Motion from Clips on what the base draws; the trainer's id is "train"."""
    prompt = motion_graph(3, "unused", 1)
    del prompt["train"]
    inputs = ASKED | WISHES[method] | {"method": method, "name": f"my {method}"} | asked
    if method == "NewMove":
        words = "blue square up fog\ngreen triangle down sand"
        prompt["others"] = generating("GeneratePriorClips", ["moving", 0], 2, words, frames=8)
        inputs["regularization"] = ["others", 0]
    prompt["train"] = node(
        "TrainMotionFromClips", model=["world", 0], motion_module=["module", 0],
        clips=["clips", 0], clip=["world", 2], **inputs,
    )  # fmt: skip
    return prompt


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
    job, (folder, loader) = jobs[method], MADE[method]
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
    log = server.log.read_text()
    assert "Memory, appearance:" in log
    assert log.count("Memory, motion:") >= 3


@pytest.mark.parametrize(
    ("method", "asked", "said"),
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
def test_what_would_spoil_a_training_is_said_before_it(server, method, asked, said):
    before = len(server.get("/still_moving/jobs")["jobs"])
    with pytest.raises(RuntimeError, match=said):
        server.run(pressed(clips_graph(method, **asked), f"bad {method} {asked}", "bad"))
    assert len(server.get("/still_moving/jobs")["jobs"]) == before
