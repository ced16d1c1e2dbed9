"""Prompts in API form that gather the shapes world's sets and train on them."""

from __future__ import annotations

from typing import Any

from still_moving.training.jobs.phase import ENDED

Prompt = dict[str, dict[str, Any]]
SMALL = {"width": 128, "height": 128, "crop": "centre"}
# Without the preset's own numbers, as a script may leave them out.
MACHINE = {"seed": 0, "memory": "auto", "precision": "auto", "sharing": "yield"}
PROMPTS = "red circle left night\nblue square up fog\ngreen triangle down sand"
WISHES = {
    "Customize-A-Video": {
        "prompt": "", "absorber": "both", "words": "red, circle", "appearance": "red circle night",
        "appearance_steps": 2,
    },
    "VMC": {"prompt": "circle left"},
    "NewMove": {"prompt": "red circle pll night", "token": "pll"},
}  # fmt: skip  # many short values, several a line
# Of the node of three methods at once, whose numbers are 0 where the preset's are meant.
OLDER = MACHINE | {
    "prompt": "", "appearance": "", "token": "", "preset": "shapes world", "steps": 3, "name": "it",
    "absorber": "lora", "words": "", "absorber_file": "none", "appearance_steps": 2, "rank": 0,
    "lr": 0.0, "frames": 0, "loss": "residual_cosine", "backward": False, "learns": "auto",
    "keys_values": True, "check_captions": True,
}  # fmt: skip  # many short values, several a line


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": f"StillMoving{kind}", "inputs": inputs}


def generating(kind: str, model: list[Any], count: int, prompts: str, **more: Any) -> dict:
    """A node that draws its own set with few and quick steps."""
    return node(
        kind, model=model, clip=["world", 2], vae=["world", 3], prompts=prompts, token="sks",
        class_word="circle", count=count, negative="", seed=1, steps=4, cfg=1.5,
        sampler_name="dpmpp_2m_sde", scheduler="sgm_uniform", width=128, height=128, **more,
    )  # fmt: skip  # many short values, several a line


def motion_graph(steps: int, name: str, count: int = 3) -> Prompt:
    """Train Motion Adapter on clips that the base draws; the trainer's id is "train"."""
    return {
        "world": node("LoadShapesWorld"),
        "module": node("LoadMotionModule", file="demo: shapes_motion_module.safetensors"),
        "moving": node(
            "ApplyMotionModule", model=["world", 0], motion_module=["module", 0], schedule="auto"
        ),
        "clips": generating("GeneratePriorClips", ["moving", 0], count, PROMPTS, frames=8),
        "train": node(
            "TrainMotionAdapter", model=["world", 0], motion_module=["module", 0],
            training_set=["clips", 0], name=name, preset="shapes world", steps=steps, **MACHINE,
        ),
    }  # fmt: skip  # many short values, several a line


def spatial_graph(steps: int, name: str, motion_adapter: Any) -> Prompt:
    """Train Spatial Adapter on images that the customized checkpoint draws."""
    prompt = motion_graph(steps, name)
    prompt["images"] = generating(
        "GenerateImages", ["world", 1], 3, "red [class] left [V*]\nblue square up [V*]"
    )
    prompt["train"] = node(
        "TrainSpatialAdapter", model=["world", 1], motion_module=["module", 0],
        customized_images=["images", 0], natural_clips=["clips", 0], motion_adapter=motion_adapter,
        name=name, preset="shapes world, custom", steps=steps, **MACHINE,
    )  # fmt: skip  # many short values, several a line
    return prompt


def both_graph(steps: int, name: str, motion_steps: int, uid: str) -> Prompt:
    """The same, its Motion Adapter from a trainer of its own: "motion", whose name is ``uid``."""
    prompt = spatial_graph(steps, f"{name} spatial", ["motion", 0])
    prompt["motion"] = motion_graph(motion_steps, f"{name} motion")["train"]
    prompt["motion"]["inputs"]["node_uid"] = uid
    return prompt


def clips_graph(method: str, older: bool = False, **changes) -> dict:
    """A method's trainer on what the base draws; the trainer's id is "train".

    older: by the node that older workflows have, of three methods at once.
    """
    prompt = motion_graph(3, "unused", 1)
    del prompt["train"]
    inputs = {"name": f"my {method}", "preset": "shapes world", "steps": 3} | WISHES[method]
    kind = f"Train{method.replace('-', '')}"
    if older:
        kind, inputs = "TrainMotionFromClips", OLDER | inputs | {"method": method}
    if method == "NewMove":
        prompts = "blue square up fog\ngreen triangle down sand"
        prompt["others"] = generating("GeneratePriorClips", ["moving", 0], 2, prompts, frames=8)
        inputs["regularization"] = ["others", 0]
    prompt["train"] = node(
        kind, model=["world", 0], motion_module=["module", 0], clips=["clips", 0],
        clip=["world", 2], **inputs | changes,
    )  # fmt: skip  # many short values, several a line
    return prompt


def pressed(prompt: Prompt, token: str, uid: str = "a node") -> Prompt:
    """The same with Train pressed, as the page or a script does it."""
    prompt["train"]["inputs"] |= {"run_token": token, "node_uid": uid}
    return prompt


def ended(server, id: str) -> dict:
    """The job's view when it has ended."""
    server.wait_until(lambda: server.get(f"/still_moving/jobs/{id}")["phase"] in ENDED)
    return server.get(f"/still_moving/jobs/{id}")


def choices(server, kind: str) -> list[str]:
    """Files that a loader node offers."""
    described = server.get(f"/object_info/{kind}")[kind]
    options = described["input"]["required"]["file"]
    return options[1]["options"] if options[0] == "COMBO" else options[0]
