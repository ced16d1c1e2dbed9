"""The files that the shapes world ships: where they are."""

from pathlib import Path

WEIGHTS = Path(__file__).resolve().parent / "weights"
BASE = "shapes_base.safetensors"
MOTION_MODULE = "shapes_motion_module.safetensors"
CUSTOMIZED = "shapes_customized.safetensors"
MOTION_ADAPTER = "shapes_motion_adapter.safetensors"
SPATIAL_ADAPTER = "shapes_spatial_adapter.safetensors"
LORAS = WEIGHTS / "loras"
CONTROLNET = "shapes_controlnet.safetensors"
LORA = "shapes_dusk_lora.safetensors"  # in LORAS
MOTION_LORA = "shapes_circle_lora.safetensors"  # of Customize-A-Video
VMC = "shapes_circle_vmc.safetensors"
NEWMOVE = "shapes_circle_newmove.safetensors"

CLIPS = WEIGHTS.parent / "clips"
ONE_CLIP = "circle"  # folders in CLIPS
SEVERAL_CLIPS = "newmove circle"
NATURAL_CLIPS = "natural"
