"""What a stage has learned, as files that artists use."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...adapters.files.adapter import Adapter, AdapterInfo, save_adapter
from ...adapters.files.checkpoint import UNetWeights, fingerprint
from ...adapters.files.embedding import Embedding, save_embedding
from ...adapters.files.image_lora import save_image_lora
from ...adapters.files.metadata import MARK
from ...adapters.files.motion_module import MotionModule
from ...adapters.files.motion_weights import MotionWeights, MotionWeightsInfo, save_motion_weights
from ...adapters.files.tensors import write_tensors
from ..jobs.exports import exports_of
from ..jobs.job import Job
from ..stage.loop import StageTraining
from ..stage.trainable import WORDS


def export(
    exports: Path, training: StageTraining, job: Job, weights: UNetWeights, motion: MotionModule
) -> tuple[str, ...]:
    """Write what a stage has learned into the folder ``exports``; returns the files' names.

    weights, motion: as the job's files have them. What the file becomes is ``Site.result``; a
    checkpoint has the UNet's weights alone. Words that were trained beside a LoRA are an embedding
    in a file of their own.
    """
    stage, trainable = training.stage, training.trainable
    values = {n: t.cpu() for n, t in training.values().items()}
    origin = {"recipe": job.recipe.to_json(), "steps": str(training.step)}
    names, rows = exports_of(job)[training.stage_index], values.pop(WORDS, None)
    path, result = exports / names.weights, stage.site.result
    if result == "checkpoint":
        named = {f"model.diffusion_model.{n}": t for n, t in trainable.weights(values).items()}
        write_tensors(path, named, origin)
    elif result == "motion weights":
        save_motion_weights(path, _motion_weights(training, values, job, weights, motion))
    elif result == "image LoRA":
        marked = {f"{MARK}{name}": text for name, text in origin.items()}
        save_image_lora(path, trainable.low_rank(values), trainable.layout, marked)
    elif result != "embedding":
        info = _adapter_info(training, job, weights, motion)
        save_adapter(path, Adapter(info, trainable.low_rank(values)))
    if rows is not None:
        marked = {f"{MARK}{name}": text for name, text in origin.items()}
        save_embedding(exports / names.words, Embedding(rows, stage.words), marked)
    return names.names


def _adapter_info(
    training: StageTraining, job: Job, weights: UNetWeights, motion: MotionModule
) -> AdapterInfo:
    stage = training.stage
    motion_adapter = stage.site.result == "Motion Adapter"
    return AdapterInfo(
        kind="motion" if motion_adapter else "spatial",
        rank=stage.rank,
        sites=stage.site.policy or stage.train,
        base=weights.base,
        motion_module=motion.hash,
        motion_module_name=motion.name,
        checkpoint=weights.hash,
        checkpoint_name=Path(job.checkpoint).name,
        fingerprint=fingerprint(weights.tensors),
        steps=training.step,
        recipe=job.recipe.to_json(),
    )


def _motion_weights(
    training: StageTraining,
    values: dict[str, Tensor],
    job: Job,
    weights: UNetWeights,
    motion: MotionModule,
) -> MotionWeights:
    info = MotionWeightsInfo(
        sites=training.stage.train,
        base=weights.base,
        motion_module=motion.hash,
        motion_module_name=motion.name,
        checkpoint=weights.hash,
        checkpoint_name=Path(job.checkpoint).name,
        steps=training.step,
        token=job.recipe.token,
        recipe=job.recipe.to_json(),
    )
    after = training.trainable.weights(values)
    files = {**weights.tensors, **motion.tensors}
    # As the network had them: rounding to its number format was not learned.
    before = {name: files[name].to(training.dtype) for name in after}
    return MotionWeights.between(info, before, after)
