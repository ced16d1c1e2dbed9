"""What the nodes of the motion methods are told, as their recipes have it; None: the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSORBERS = ["lora", "words", "both", "file", "none"]


def absorbing(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Of Customize-A-Video."""
    absorber = inputs.get("absorber", ABSORBERS[0])
    words = tuple(word.strip() for word in inputs.get("words", "").split(",") if word.strip())
    return {
        "caption": inputs["prompt"].strip(),
        "appearance": inputs["appearance"].strip(),
        "absorber": absorber,
        "words": words if absorber in ("words", "both") else (),
        "appearance_steps": inputs.get("appearance_steps") or None,
        "check_captions": inputs.get("check_captions", True),
    }


def following(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Of VMC."""
    sites = {"LoRA": "temporal.qkv", "weights": "temporal.qkv.full"}
    return {
        "prompt": inputs["prompt"].strip(),
        "loss": inputs.get("loss"),
        "backward": inputs.get("backward"),
        "sites": sites.get(inputs.get("learns", "")),
        "check_captions": inputs.get("check_captions", True),
    }


def calling(inputs: Mapping[str, Any], regularized: bool) -> dict[str, Any]:
    """Of NewMove. regularized: whether there are clips for it."""
    return {
        "prompt": inputs["prompt"].strip(),
        "motion_word": inputs["token"].strip(),
        "regularization": regularized,
        "keys_values": inputs.get("keys_values"),
        "full": {"LoRA": False, "weights": True}.get(inputs.get("learns", "")),
        "check_captions": inputs.get("check_captions", True),
    }
