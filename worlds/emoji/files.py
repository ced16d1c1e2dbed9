"""The files that the emoji world ships: where they are."""

from pathlib import Path

WEIGHTS = Path(__file__).resolve().parent / "weights"
BASE = "emoji_base.safetensors"
MOTION_MODULE = "emoji_motion_module.safetensors"
VAE = "emoji_vae.safetensors"
MOTION_ADAPTER = "emoji_motion_adapter.safetensors"
