"""The nodes: thin, they read inputs and call adapters/ and training/."""

from comfy_api.latest import ComfyExtension, io

from . import folders, routes, train
from .clips import FreezeClip, MeasureMotion
from .context import ContextWindows
from .invert import InvertClip
from .motion import ApplyMotionAdapter, ApplyMotionModule, LoadMotionModule, MakeScaleSchedule
from .motion_weights import ApplyMotionWeights
from .shapes import LoadShapesWorld
from .spatial import ApplySpatialAdapter, ExportSpatialAdapter, InjectCheckpoint

NODES: list[type[io.ComfyNode]] = [
    LoadMotionModule,
    ApplyMotionModule,
    InjectCheckpoint,
    ApplyMotionAdapter,
    ApplyMotionWeights,
    MakeScaleSchedule,
    ApplySpatialAdapter,
    ExportSpatialAdapter,
    FreezeClip,
    ContextWindows,
    InvertClip,
    MeasureMotion,
    LoadShapesWorld,
    *train.NODES,
]


class StillMovingExtension(ComfyExtension):
    """What ComfyUI loads from this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register()
        routes.register()
        return NODES
