"""The nodes that gather training sets and start jobs; the worker does the rest."""

from comfy_api.latest import io

from .generate import GenerateImages, GeneratePriorClips
from .motion_clips import TrainMotionFromClips
from .sets import ClipSet, ImageSet
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
