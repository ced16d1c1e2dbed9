"""Maintainer's script: how many inputs each node has, and how many an artist sees at first.

``python tools inputs``, with ComfyUI in COMFYUI_PATH, prints a table in Markdown. Advanced inputs
are folded away until somebody asks for them; sockets are wired, the others are filled in.
"""

import importlib

from helpers.host.boot import boot, why_not

FILLED_IN = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def main() -> str | None:
    if reason := why_not():
        return reason
    boot("--cpu")
    importlib.import_module("still_moving.nodes.shared.folders").register()  # nodes list files
    print("| node | inputs | seen at first | of these to fill in |\n|---|---|---|---|")
    for node in importlib.import_module("still_moving.nodes").NODES:
        schema = node.GET_SCHEMA()
        seen = [it for it in schema.inputs if not is_advanced(it)]
        fill = [it for it in seen if it.get_io_type() in FILLED_IN]
        print(f"| {schema.display_name} | {len(schema.inputs)} | {len(seen)} | {len(fill)} |")
    return None


def is_advanced(node_input) -> bool:
    """As ``nodes.shared.sockets.advanced`` marks it."""
    return bool((node_input.extra_dict or {}).get("advanced"))
