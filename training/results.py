"""What a stage has learned, as a file that artists use."""

from __future__ import annotations

from pathlib import Path

from ..adapters.checkpoint import UNetWeights, fingerprint
from ..adapters.file import Adapter, AdapterInfo, save_adapter
from ..adapters.motion_module.checkpoint import MotionModule
from ..adapters.tensors import write_tensors
from .job import Job
from .loop import StageRun


def export(path: Path, run: StageRun, job: Job, weights: UNetWeights, motion: MotionModule) -> None:
    """Write what a stage has learned as a file that artists use.

    An adapter file; for "spatial.all", a checkpoint file with the UNet's weights.
    """
    values = {n: t.cpu() for n, t in run.values().items()}
    if run.stage.train == "spatial.all":
        named = {
            f"model.diffusion_model.{run.trainable.layout.to_ldm(n)}": t for n, t in values.items()
        }
        write_tensors(path, named, {"recipe": job.recipe.to_json(), "steps": str(run.step)})
        return
    temporal = run.stage.train == "temporal.qkv"
    info = AdapterInfo(
        kind="motion" if temporal else "spatial",
        rank=run.stage.rank,
        sites=run.stage.train if temporal else run.stage.train.removeprefix("spatial."),
        base=weights.base,
        motion_module=motion.hash,
        motion_module_name=Path(job.motion_module).name,
        checkpoint=weights.hash,
        checkpoint_name=Path(job.checkpoint).name,
        fingerprint=fingerprint(weights.tensors),
        steps=run.step,
        recipe=job.recipe.to_json(),
        recommended_scale=0.0 if temporal else 1.0,
    )
    save_adapter(path, Adapter(info, run.trainable.low_rank(values)))
