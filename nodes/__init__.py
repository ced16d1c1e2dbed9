"""The nodes: thin, they read inputs and call adapters/."""

from comfy_api.latest import ComfyExtension, io

from . import folders
from .clips import FreezeClip, MeasureMotion
from .context import ContextWindows
from .motion import ApplyMotionAdapter, ApplyMotionModule, LoadMotionModule, MakeScaleSchedule
from .shapes import LoadShapesWorld
from .spatial import ApplySpatialAdapter, ExportSpatialAdapter, InjectCheckpoint

NODES: list[type[io.ComfyNode]] = [
    LoadMotionModule,
    ApplyMotionModule,
    InjectCheckpoint,
    ApplyMotionAdapter,
    MakeScaleSchedule,
    ApplySpatialAdapter,
    ExportSpatialAdapter,
    FreezeClip,
    ContextWindows,
    MeasureMotion,
    LoadShapesWorld,
]


class StillMovingExtension(ComfyExtension):
    """What ComfyUI loads from this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        folders.register()
        return NODES
