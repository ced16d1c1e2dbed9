"""What the nodes' inputs and outputs share: this pack's wires, and inputs that several nodes have.

A wire's name is the id that saved workflows know it by.
"""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "Still-Moving"  # where the menu lists the nodes
CUSTOM = ", custom"  # behind the preset that the other numbers are of

MOTION_MODULE = io.Custom("MOTION_MODULE")  # adapters.host.motion_module.LoadedMotionModule
SCALE_SCHEDULE = io.Custom("SCALE_SCHEDULE")  # ScaleSchedule, FrameScales of adapters
TRAINING_SET = io.Custom("TRAINING_SET")  # nodes.sets.cached.CachedSet


def advanced(node_input: io.Input) -> io.Input:
    """An input that a node shows only when more is wanted; 0.3.64 has no argument for it."""
    node_input.extra_dict = {"advanced": True}
    return node_input


def scale_input(
    tooltip: str, default: float, least: float = -2.0, name: str = "scale", slider: bool = True
) -> io.Float.Input:
    """An adapter's scale, up to 2."""
    return io.Float.Input(
        name,
        default=default,
        min=least,
        max=2.0,
        step=0.05,
        round=0.01,
        display_mode=io.NumberDisplay.slider if slider else None,
        tooltip=tooltip,
    )


def schedule_input() -> io.Input:
    return SCALE_SCHEDULE.Input(
        "scale_schedule",
        optional=True,
        tooltip="A scale that changes during sampling, or from frame to frame; replaces the"
        " slider.",
    )


def mask_input() -> io.Input:
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where it acts: white in full, black not at all. One for the clip, or one for each"
        " frame.",
    )


def amount_input(tooltip: str) -> io.Float.Input:
    """How much of another file's weights: 0 none, 1 all."""
    return io.Float.Input(
        "amount",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        round=0.01,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


def seed_input(tooltip: str, optional: bool = False) -> io.Int.Input:
    """One that stays as it is: with another seed everything after the node would be made anew."""
    return io.Int.Input(
        "seed",
        optional=optional,
        default=0,
        min=0,
        max=2**48,
        control_after_generate=False,
        tooltip=tooltip,
    )


def length_input(tooltip: str) -> io.Int.Input:
    """Frames of a window."""
    return io.Int.Input("length", default=16, min=2, max=1024, tooltip=tooltip)


def overlap_input(tooltip: str) -> io.Int.Input:
    """Frames that neighbouring windows share."""
    return io.Int.Input("overlap", default=4, min=0, max=1023, tooltip=tooltip)
