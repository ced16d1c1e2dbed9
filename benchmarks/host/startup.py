"""What the pack adds to ComfyUI's start-up: seconds and imported packages, as JSON.

``python benchmarks host.startup --comfyui ~/comfy/ComfyUI [--runs 5]``. Each run is a process of
its own, in which ComfyUI has read its own nodes when the clock starts; the first one warms the
disk.
"""

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="a ComfyUI checkout")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(options.comfyui)))
        return
    command = [
        sys.executable,
        str(ROOT / "benchmarks"),
        "host.startup",
        "--comfyui",
        str(options.comfyui),
        "--once",
    ]
    measured = [_last_line(command) for _ in range(options.runs + 1)][1:]
    seconds = [measures.pop("seconds") for measures in measured]
    print(json.dumps({"median_s": statistics.median(seconds), "seconds": seconds, **measured[-1]}))


def _last_line(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def measure(comfyui: Path) -> dict:
    """Load the pack as ComfyUI does; seconds, node ids, packages and torch modules that came in."""
    with tempfile.TemporaryDirectory() as base:
        sys.argv = ["main.py", "--cpu", "--base-directory", base, "--disable-api-nodes"]
        sys.path.insert(0, str(comfyui))
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("utils.extra_config")
        nodes = importlib.import_module("nodes")
        asyncio.run(nodes.init_builtin_extra_nodes())
        ids, modules = set(nodes.NODE_CLASS_MAPPINGS), set(sys.modules)
        start = time.perf_counter()
        loaded = asyncio.run(nodes.load_custom_node(str(ROOT)))
        seconds = time.perf_counter() - start
        new = {name for name in set(sys.modules) - modules if not name.startswith(str(ROOT.parent))}
        packages = {name.partition(".")[0] for name in new} - set(sys.stdlib_module_names)
        return {
            "seconds": round(seconds, 4),
            "loaded": loaded,
            "nodes": sorted(set(nodes.NODE_CLASS_MAPPINGS) - ids),
            "packages": sorted(packages - {name.partition(".")[0] for name in modules}),
            "modules_of_torch": sorted(name for name in new if name.startswith("torch.")),
        }
