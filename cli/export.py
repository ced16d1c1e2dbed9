"""``export``: a Spatial Adapter as a plain LoRA file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def add(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="write a Spatial Adapter as a LoRA that every tool loads",
        description="The LoRA equals the adapter on the checkpoint it is exported for, and only "
        "there: the adapter multiplies that checkpoint's weights.",
    )
    parser.add_argument("adapter", type=Path, help="a Spatial Adapter with sites 'layers'")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the customized file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the adapter (default 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..adapters.files.adapter import load_adapter
    from ..adapters.files.checkpoint import read_unet
    from ..adapters.files.spatial_lora import export_lora
    from ..common import files
    from ..common.errors import UserError
    from ..common.names import check_new_path

    if options.out.suffix != ".safetensors":
        raise UserError(options.out, "another ending", ".safetensors", "Rename it.")
    check_new_path(options.out)
    if not math.isfinite(options.scale):
        raise UserError("--scale", str(options.scale), "a number", "1 is as trained.")
    for source in (options.adapter, options.checkpoint):
        if files.same(options.out, source):
            raise UserError(options.out, "a file that is read", "another", "Choose a new name.")
    adapter = load_adapter(options.adapter, kind="spatial")
    unet = read_unet(options.checkpoint)
    if adapter.info.checkpoint not in (None, unet.hash, "unknown"):
        raise UserError(
            options.checkpoint,
            "another checkpoint",
            f"{adapter.info.checkpoint_name}, which the adapter was trained for",
            "Name that file.",
        )
    export_lora(adapter, unet, options.out, options.scale)
    print(f"wrote {options.out} ({len(adapter.pairs)} layers)")
    return 0
