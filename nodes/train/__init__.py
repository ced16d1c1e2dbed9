"""The nodes that gather training sets and start jobs; the worker does the rest.

Runs in ComfyUI.
"""

from comfy_api.latest import io

from ..sets.folders import ClipSet, ImageSet
from ..sets.generate import GenerateImages, GeneratePriorClips
from .motion_clips import TrainMotionFromClips
from .trainers import TrainMotionAdapter, TrainSpatialAdapter

NODES: list[type[io.ComfyNode]] = [
    ImageSet,
    ClipSet,
    GenerateImages,
    GeneratePriorClips,
    TrainMotionAdapter,
    TrainSpatialAdapter,
    TrainMotionFromClips,
]
