"""The nodes: thin, they read inputs and call adapters/ and training/.

Runs in ComfyUI.
"""

from comfy_api.latest import ComfyExtension, io

from . import routes
from .apply.motion import (
    ApplyMotionAdapter,
    ApplyMotionModule,
    LoadMotionModule,
    MergeMotionModules,
)
from .apply.motion_weights import ApplyMotionWeights
from .apply.scales import MakeScaleSchedule, ScaleOverFrames
from .apply.spatial import ApplySpatialAdapter, ExportSpatialAdapter, InjectCheckpoint
from .apply.windows import ContextWindows, MotionViews
from .clips.compare import CompareClips
from .clips.invert import InvertClip
from .clips.measure import FreezeClip, MeasureMotion
from .clips.noise import FreeNoise
from .sets.folders import ClipSet, ImageSet
from .sets.generate import GenerateImages, GeneratePriorClips
from .shared import folders
from .train.motion_clips import TrainMotionFromClips
from .train.motion_methods import TrainCustomizeAVideo, TrainNewMove, TrainVMC
from .train.trainers import TrainMotionAdapter, TrainSpatialAdapter
from .worlds.shapes import LoadShapesWorld

NODES: list[type[io.ComfyNode]] = [
    LoadMotionModule,
    MergeMotionModules,
    ApplyMotionModule,
    InjectCheckpoint,
    ApplyMotionAdapter,
    ApplyMotionWeights,
    MakeScaleSchedule,
    ScaleOverFrames,
    ApplySpatialAdapter,
    ExportSpatialAdapter,
    FreezeClip,
    ContextWindows,
    MotionViews,
    FreeNoise,
    InvertClip,
    CompareClips,
    MeasureMotion,
    LoadShapesWorld,
    ImageSet,
    ClipSet,
    GenerateImages,
    GeneratePriorClips,
    TrainMotionAdapter,
    TrainSpatialAdapter,
    TrainCustomizeAVideo,
    TrainVMC,
    TrainNewMove,
    TrainMotionFromClips,
]


class StillMovingExtension(ComfyExtension):
    """What ComfyUI loads from this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register()
        routes.register()
        return NODES
