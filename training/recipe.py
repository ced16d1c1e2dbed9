"""What to train, as data: stages, sites, sources and every number of the method.

Only the standard library, because ComfyUI's process reads recipes too. The defaults are those
of the paper (Still-Moving, arXiv:2407.08674, section 4 and supplement, AnimateDiff); the choices
that its text leaves open are named where they are made.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import typing
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..adapters.errors import UserError

View = Literal["frozen", "clip"]
Sites = Literal["temporal.qkv", "spatial.layers", "spatial.blocks", "spatial.all"]
Tier = Literal["auto", "none", "top", "two", "all"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Source:
    """Where samples come from: a cached set, how an item is seen, and the scales meanwhile."""

    set: str  # the job says which folder this name stands for
    view: View  # "frozen": one frame for the whole clip; "clip": the frames as they move
    scales: dict[str, float] = field(default_factory=dict)  # of adapters, by name; absent means 0
    weight: int = 1  # share of the samples, relative to the other sources


@dataclass(frozen=True)
class Noise:
    """Gaussian noise plus an offset per channel that all frames share, so it cannot flicker."""

    offset: float = 0.1


@dataclass(frozen=True)
class Stage:
    """One optimization: what is trained, on what, for how long."""

    name: str
    train: Sites
    sources: tuple[Source, ...]
    steps: int
    rank: int = 4  # of the low-rank adapters; without meaning for "spatial.all"
    lr: float = 2e-5
    use: tuple[str, ...] = ()  # finished adapters held fixed; the job says which files
    noise: Noise = Noise()
    loss: Literal["epsilon_mse"] = "epsilon_mse"


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but its files."""

    name: str
    stages: tuple[Stage, ...]
    frames: int = 16
    batch: int = 1  # samples a step, one after the other
    seed: int = 0
    dtype: Dtype = "auto"
    tier: Tier = "auto"  # how much of the network is computed twice to save memory
    weight_decay: float = 1e-2  # the paper names no optimizer: AdamW with torch's betas
    clip_norm: float = 1.0
    ema: float = 0.0  # decay of the moving average of the weights; 0 is off
    save_every: int = 50
    held_out_every: int = 50
    held_out: int = 8  # fixed (item, timestep, noise) triples
    max_skips: int = 10  # non-finite steps in a row before the run stops

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str, origin: str = "recipe") -> Recipe:
        """Parse and validate. Raises UserError naming the field, what it is and what fits."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # absurd numbers and nesting included
            raise UserError(
                origin, f"no JSON ({error})", "a recipe", "Export it again or start from a default."
            ) from None
        return validate(parse(cls, data, origin), origin)


def motion_adapter(*, frames: int = 16, **overrides: Any) -> Recipe:
    """Still-Moving's Motion Adapter (section 3.2, eq. 3): frozen clips at scale 1."""
    stage = Stage(
        name="motion",
        train="temporal.qkv",
        rank=4,
        steps=4000,
        sources=(Source("frames", "frozen", {"motion": 1.0}),),
    )
    return _override(Recipe("motion adapter", (stage,), frames=frames), overrides)


def spatial_adapter(
    *,
    sites: Literal["layers", "blocks", "all"] = "layers",
    motion_adapter: bool = True,
    natural_clips: bool = True,
    prior_scale: float = 0.0,
    frames: int = 16,
    **overrides: Any,
) -> Recipe:
    """Still-Moving's Spatial Adapter (section 3.3, eq. 4) and, as switches, its ablations.

    Frozen customized images with the Motion Adapter at scale 1 and natural clips at
    ``prior_scale``, one to one. The ablations of section 4.3: ``motion_adapter=False``,
    ``natural_clips=False``, ``sites="all"`` (every spatial weight instead of adapters).
    """
    on = {"motion": 1.0} if motion_adapter else {}
    prior = {"motion": prior_scale} if motion_adapter else {}
    sources = [Source("customized", "frozen", on)]
    if natural_clips:
        sources.append(Source("natural", "clip", prior))
    stage = Stage(
        name="spatial",
        train=typing.cast(Sites, f"spatial.{sites}"),
        rank=64,
        steps=600,
        use=("motion",) if motion_adapter else (),
        sources=tuple(sources),
    )
    return _override(Recipe("spatial adapter", (stage,), frames=frames), overrides)


DEFAULTS = {"motion": motion_adapter, "spatial": spatial_adapter}


def _override(recipe: Recipe, overrides: dict[str, Any]) -> Recipe:
    """Replace fields of the recipe or, by the same name, of its stages."""
    stage_fields = {f.name for f in dataclasses.fields(Stage)}
    in_stage = {k: v for k, v in overrides.items() if k in stage_fields - {"name"}}
    in_recipe = {k: v for k, v in overrides.items() if k not in in_stage}
    stages = tuple(dataclasses.replace(stage, **in_stage) for stage in recipe.stages)
    return validate(dataclasses.replace(recipe, stages=stages, **in_recipe), recipe.name)


def validate(recipe: Recipe, origin: str) -> Recipe:
    """Check ranges and references; returns the recipe. Raises UserError at the first misfit."""

    def need(ok: bool, name: str, found: object, expected: str) -> None:
        if not ok:
            raise UserError(origin, f"{name} = {found!r}", expected, f"Change {name}.")

    need(1 <= recipe.frames <= 1024, "frames", recipe.frames, "1 to 1024")
    need(1 <= recipe.batch <= 64, "batch", recipe.batch, "1 to 64")
    need(0 <= recipe.ema < 1, "ema", recipe.ema, "0 (off) up to 1")
    need(0 < recipe.clip_norm < math.inf, "clip_norm", recipe.clip_norm, "a number above 0")
    need(0 <= recipe.weight_decay <= 1, "weight_decay", recipe.weight_decay, "0 to 1")
    need(0 <= recipe.seed < 2**63, "seed", recipe.seed, "0 up to 2**63")
    for name in ("save_every", "held_out_every", "max_skips"):
        need(getattr(recipe, name) >= 1, name, getattr(recipe, name), "1 or more")
    need(recipe.held_out >= 0, "held_out", recipe.held_out, "0 or more")
    need(bool(recipe.stages), "stages", recipe.stages, "at least one stage")
    for stage in recipe.stages:
        check_name(stage.name, f"{origin}: stage name")
        need(bool(stage.sources), "sources", stage.sources, "at least one source")
        need(1 <= stage.steps <= 1_000_000, "steps", stage.steps, "1 to 1,000,000")
        need(1 <= stage.rank <= 1024, "rank", stage.rank, "1 to 1024")
        need(0 < stage.lr <= 1, "lr", stage.lr, "above 0 and at most 1")
        need(0 <= stage.noise.offset <= 1, "noise.offset", stage.noise.offset, "0 to 1")
        usable = () if stage.train == "temporal.qkv" else ("motion",)
        need(stage.use in ((), usable), "use", stage.use, f"nothing or {usable}")
        # The Spatial Adapter that is trained is always at 1: it has no scale to choose.
        known = {"motion"} if stage.use or stage.train == "temporal.qkv" else set()
        for source in stage.sources:
            need(1 <= source.weight <= 1000, "weight", source.weight, "1 to 1000")
            finite = all(map(math.isfinite, source.scales.values()))
            need(finite, "scales", source.scales, "finite numbers")
            extra = set(source.scales) - known
            need(not extra, "scales", sorted(extra), f"adapters in this stage: {sorted(known)}")
    return recipe


def check_name(name: str, subject: str = "name") -> str:
    """A name is not a path: letters, digits, space, dot, dash, underscore; at most 80 of them."""
    plain = all(c.isalnum() or c in " ._-" for c in name) and name == name.strip(" .")
    # Names become file names, with more words and an ending: systems take 255 bytes.
    if not name or not plain or len(name) > 80 or len(name.encode()) > 100:
        raise UserError(
            subject,
            repr(name)[:100],
            "1 to 80 letters, digits, spaces, dots, dashes or underscores (100 bytes)",
            "Choose a plain name without slashes.",
        )
    return name


def parse(kind: Any, value: Any, where: str) -> Any:
    """Build a value of the annotated type from plain JSON data; unknown fields are errors."""
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_dataclass(kind, value, where)
    if origin is Literal:
        ok = value in args
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        ok = False
    elif origin is dict:
        if isinstance(value, dict):
            return {str(k): parse(args[1], v, f"{where}.{k}") for k, v in value.items()}
        ok = False
    elif origin in (UnionType, typing.Union):
        if value is None:
            return None
        return parse(args[0], value, where)
    elif kind is float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        ok = ok and abs(value) <= sys.float_info.max  # no infinity, no NaN, no 400 digits
        value = float(value) if ok else value
    else:
        ok = type(value) is kind
    if not ok:
        raise UserError(where, repr(value)[:80], _describe(kind), "Change this field.")
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(where, type(value).__name__, "an object", "Change this field.")
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise UserError(
                where, f"unknown field {name!r}", f"only {', '.join(fields)}", "Remove it."
            )
    required = (
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    for name in required:
        if name not in value:
            raise UserError(where, f"no field {name!r}", "a value for it", "Add it.")
    return kind(**{k: parse(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    return getattr(kind, "__name__", str(kind))
