"""Hooks on a network that runs as a graph: compiled by torch.compile, or captured by ComfyUI.

A graph that was made without the hooks must not run in their place, nor with them when they are
gone.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import nn

from ...common.errors import UserError

KEY = "still_moving.patches"


def see_hooks() -> None:
    """Have torch.compile tell layers with hooks from those without, from the first of ours on."""
    if torch.compiler.is_compiling():
        return
    # Whoever compiles anything has imported it; there is no need to do so here.
    dynamo: Any = sys.modules.get("torch._dynamo")
    if dynamo is None or not getattr(dynamo.config, "skip_nnmodule_hook_guards", False):
        return
    # By default a graph that was traced without hooks is taken for the same layers with them, so
    # what they do is lost. From here on graphs are told apart; those traced before go.
    dynamo.config.skip_nnmodule_hook_guards = False
    dynamo.reset()


def refuse_captured(base: nn.Module) -> None:
    """Raise UserError where ComfyUI replays a MODEL's blocks without calling them.

    To be asked before a call with hooks, which would not run, and after it: what was captured then
    has them for ever.
    """
    prefetch: Any = sys.modules.get("comfy.model_prefetch")  # newer versions of ComfyUI only
    captured = getattr(prefetch, "GRAPH_MODULES", None)
    if not captured or not any(module in captured for module in base.modules()):
        return
    raise UserError(
        "model",
        "a model that ComfyUI replays from CUDA graphs",
        "one that runs layer by layer: a motion module or an adapter works between its layers",
        "Start ComfyUI with --disable-cuda-graphs.",
    )


def is_compiled(network: Any) -> bool:
    """Whether a network is torch.compile's wrapping of another."""
    return hasattr(network, "_orig_mod")


def watch_patches(model: ModelPatcher) -> None:
    """Have a MODEL with weight patches refuse to sample where ComfyUI would leave them out."""
    model.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _refuse_lost)


def _refuse_lost(executor: Any, model: ModelPatcher, *rest: Any, **named: Any) -> Any:
    refuse_compiled_in_place(model)
    return executor(model, *rest, **named)


def refuse_compiled_in_place(model: ModelPatcher) -> None:
    """Raise UserError where a node has put a compiled network in the place of the MODEL's own.

    Its layers have other names, so that ComfyUI finds no patch's layer; it says nothing of it.
    """
    compiled = [name for name, part in model.object_patches.items() if is_compiled(part)]
    if compiled:
        raise UserError(
            "model",
            f"a compiled {compiled[0]!r} in the place of the model's own",
            "a model that compiles as ComfyUI's own node does, which keeps the names of its layers",
            "Use the node TorchCompileModel instead of the one that compiles the model now.",
        )
