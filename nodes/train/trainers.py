"""Train Motion Adapter and Train Spatial Adapter: a press of Train writes a job and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io, ui

from ...adapters.files.adapter import load_adapter
from ...common.errors import UserError
from ...training.jobs.job import Job
from ...training.jobs.ticket import Kind
from ...training.queue.host import JobView
from ...training.recipes.recipe import Recipe
from ..sets.cached import CachedSet
from ..shared import baking, folders, jobs, merged
from ..shared.cancel import cancellable
from ..shared.notices import output
from ..shared.sockets import CATEGORY, MOTION_MODULE, TRAINING_SET
from . import preset_numbers
from .inputs import POLICIES, machine_inputs, name_input, outputs, recipe_of
from .one_press import ASKED_BY, UID, Coming


class Trainer(io.ComfyNode):
    """What trainers share; upstream runs only when Train was pressed."""

    KIND: Kind
    FOLDER: str  # where loaders look for the adapter

    @classmethod
    def hidden_inputs(cls) -> dict[str, Any]:
        """This node's inputs as they came in the prompt, undeclared ones included."""
        prompt = cls.hidden.prompt or {}
        return prompt.get(str(cls.hidden.unique_id), {}).get("inputs", {})

    @classmethod
    def uid(cls) -> str:
        """The node's own name, given by the page; its place in the graph where there is none."""
        return str(cls.hidden_inputs().get(UID) or cls.hidden.unique_id)[:100]

    @classmethod
    def check_lazy_status(cls, **inputs: Any) -> list[str]:
        if not cls.press_id():
            return []
        wired = {k for k, v in cls.hidden_inputs().items() if isinstance(v, list)}
        return [name for name, value in inputs.items() if value is None and name in wired]

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        # A job that ends changes what a plain Run gives, though no input changed.
        views = jobs.supervisor().views()
        return " ".join(sorted(view["id"] for view in views if view["adapter"]))

    @classmethod
    def press_id(cls) -> str:
        """What a press of Train put into the prompt; empty in a plain Run."""
        return str(cls.hidden_inputs().get(jobs.PRESS_ID) or "")

    @classmethod
    @cancellable()
    def begin(
        cls,
        model: Any,
        motion_module: Any,
        sets: dict[str, CachedSet],
        adapters: dict[str, str],
        **inputs: Any,
    ) -> io.NodeOutput:
        """Bake the model and start a job on these sets, with these adapters in use.

        adapters: files, or what another job is to train first; inputs: those of ``asked``.
        """
        recipe = recipe_of(cls.KIND, inputs, **baking.predicted(model))
        refuse_short_clips(recipe, sets)
        name, notes = jobs.adapter_name(inputs["name"]), [*baking.check(model)]
        awaits = tuple(it.awaited for it in adapters.values() if isinstance(it, Coming))
        files = {name: it for name, it in adapters.items() if not isinstance(it, Coming)}
        notes += [n for file in files.values() for n in load_adapter(file, "motion").notes]
        motion = merged.motion_file(motion_module.parts)
        checkpoint = baking.bake(model)
        job = Job(
            name=name,
            recipe=recipe,
            checkpoint=str(checkpoint),
            motion_module=str(motion.path),
            sets={role: str(cached.folder) for role, cached in sets.items()},
            adapters=files,
        )
        used = (*motion.made, *(path for cached in sets.values() for path in cached.uses))
        press = (cls.press_id(), cls.uid(), inputs.get("sharing", POLICIES[0]), (checkpoint, *used))
        view = jobs.start(cls.KIND, job, *press, cls.FOLDER, awaits=awaits)
        return cls.begun(view, [*notes, *motion.notes])

    @classmethod
    def begun(cls, view: JobView, notes: Sequence[str] = ()) -> io.NodeOutput:
        text = f"Training has begun: {jobs.describe(view)}"
        shown = {"still_moving_job": [view["id"]], "text": [text]}
        return output(Coming.of(view), text, notes=notes, shown=shown)

    @classmethod
    def without_training(cls) -> io.NodeOutput | None:
        """What to answer when there is nothing to start; None after a press of Train."""
        if not cls.press_id():
            return cls.newest()
        view = jobs.started(cls.press_id())
        return None if view is None else cls.begun(view)

    @classmethod
    def newest(cls) -> io.NodeOutput:
        """The newest adapter of this node, for a plain Run."""
        view = jobs.supervisor().latest_finished(cls.uid())
        if view is None:
            text = jobs.nothing_yet(cls.uid())
            shown: Any = ui.PreviewText(text)
            return io.NodeOutput(None, text, ui=shown, block_execution=text)
        text = jobs.describe(view)
        shown = ui.PreviewText(text)
        return io.NodeOutput(view["adapter"], text, ui=shown)


def asked(kind: str) -> list[io.Input]:
    """Name and preset first, the numbers after."""
    first = [name_input(f"my_{kind}_adapter"), preset_numbers.preset_input(kind)]
    return [*first, *preset_numbers.number_inputs(kind), *machine_inputs()]


def refuse_short_clips(recipe: Recipe, sets: dict[str, CachedSet]) -> None:
    """Raise UserError where a recipe trains on longer clips than its set "natural" holds."""
    natural = sets.get("natural")
    if natural is not None and natural.kind == "clips" and natural.frames < recipe.frames:
        raise UserError(
            "natural_clips",
            f"clips of {natural.frames} frames",
            f"at least {recipe.frames}, as the preset trains on",
            f"Set frames to {natural.frames}, or make the Clip Set with more.",
        )


class TrainMotionAdapter(Trainer):
    """MODEL, MOTION_MODULE and stills -> a job that trains a Motion Adapter."""

    KIND = "motion"
    FOLDER = folders.MOTION_ADAPTERS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingTrainMotionAdapter",
            display_name="Train Motion Adapter",
            category=CATEGORY,
            description="Trains a Motion Adapter (the motion slider) in the background: once for a"
            " motion module. Press Train; Run gives the newest adapter that is ready.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Model.Input("model", lazy=True, tooltip="The plain model, as it was loaded."),
                MOTION_MODULE.Input("motion_module", lazy=True, tooltip="From Load Motion Module."),
                TRAINING_SET.Input(
                    "training_set",
                    lazy=True,
                    tooltip="Clips or images; a single frame of each is held still.",
                ),
                *asked("motion"),
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, preset: Any = None) -> bool | str:
        return preset_numbers.accepted(cls.KIND, preset)

    @classmethod
    def asked_by(cls) -> str:
        """The press id of a trainer that takes this one's adapter; empty for none."""
        return str(cls.hidden_inputs().get(ASKED_BY) or "")

    @classmethod
    def press_id(cls) -> str:
        """Its own, or one that comes from who needs an adapter while there is none, nor a job."""
        if (own := super().press_id()) or not cls.asked_by():
            return own
        press_id, uid = f"{cls.asked_by()} {cls.uid()}", cls.uid()
        here = jobs.on_its_way(uid) or jobs.supervisor().latest_finished(uid)
        return "" if here and not jobs.started(press_id) else press_id

    @classmethod
    def newest(cls) -> io.NodeOutput:
        view = jobs.on_its_way(cls.uid()) if cls.asked_by() else None
        return super().newest() if view is None else cls.begun(view)

    @classmethod
    def execute(
        cls,
        training_set: CachedSet | None = None,
        model: Any = None,
        motion_module: Any = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        if answer := cls.without_training():
            return answer
        assert training_set is not None
        return cls.begin(model, motion_module, {"frames": training_set}, {}, **inputs)


class TrainSpatialAdapter(Trainer):
    """A customized MODEL, both sets and a Motion Adapter -> a job that trains a Spatial Adapter."""

    KIND = "spatial"
    FOLDER = folders.SPATIAL_ADAPTERS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillMovingTrainSpatialAdapter",
            display_name="Train Spatial Adapter",
            category=CATEGORY,
            description="Trains a Spatial Adapter in the background: once for a customized model."
            " Press Train; Run gives the newest adapter that is ready.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                io.Model.Input(
                    "model",
                    lazy=True,
                    tooltip="The customized model, LoRAs included, without adapters of this pack.",
                ),
                MOTION_MODULE.Input("motion_module", lazy=True, tooltip="From Load Motion Module."),
                TRAINING_SET.Input(
                    "customized_images",
                    lazy=True,
                    tooltip="Images of the look, best from Generate Customized Images.",
                ),
                TRAINING_SET.Input(
                    "natural_clips",
                    lazy=True,
                    tooltip="Ordinary clips, best real ones: they keep the motion natural.",
                ),
                io.Combo.Input(
                    "motion_adapter",
                    options=folders.choices(folders.MOTION_ADAPTERS),
                    tooltip="The Motion Adapter of the same motion module. Connected to Train"
                    " Motion Adapter, one press of Train here trains both, that one first.",
                ),
                *asked("spatial"),
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, motion_adapter: Any = None, preset: Any = None) -> bool | str:
        said = folders.accepted(folders.MOTION_ADAPTERS, motion_adapter)
        return said if said is not True else preset_numbers.accepted(cls.KIND, preset)

    @classmethod
    def execute(
        cls,
        motion_adapter: str,
        model: Any = None,
        motion_module: Any = None,
        customized_images: CachedSet | None = None,
        natural_clips: CachedSet | None = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        if answer := cls.without_training():
            return answer
        assert customized_images is not None
        assert natural_clips is not None
        adapter = motion_adapter
        if not isinstance(adapter, Coming):
            adapter = str(folders.path_of(folders.MOTION_ADAPTERS, adapter).resolve())
        return cls.begin(
            model,
            motion_module,
            {"customized": customized_images, "natural": natural_clips},
            {"motion": adapter},
            **inputs,
        )
