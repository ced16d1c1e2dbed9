"""The kit of ``make card`` as a child on the pretended card, and the lines that it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import card
from helpers.checkout import comfyui

ROOT = Path(__file__).resolve().parents[2]

Line = dict


def lines_of(out: Path, *arguments: str) -> list[Line]:
    """Every line that the kit wrote into its file; a skip where there is no ComfyUI."""
    command = [sys.executable, str(ROOT / "benchmarks"), "card", "--dry", "--minutes", "20"]
    environment = {**os.environ, **card.environment(), "COMFYUI_PATH": str(comfyui())}
    subprocess.run([*command, "--out", str(out), *arguments], env=environment, check=True)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def measured(lines: list[Line], part: str) -> list[Line]:
    return [line for line in lines if line["part"] == part and "ended" not in line]


def ends(lines: list[Line]) -> dict[str, tuple[str, str | None]]:
    """How each part ended, and what it said if it failed."""
    ended = [line for line in lines if "ended" in line]
    return {line["part"]: (line["ended"], line.get("stderr")) for line in ended}
