"""The first part of a job whose sets are yet to be drawn: a process with ComfyUI, before training.

Training has a process without it, which begins when this one has ended.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[1]


def is_due(job: Any) -> bool:
    """Whether a job has sets that are yet to be drawn."""
    from ..training.sets.plan import is_planned

    return any(is_planned(Path(place)) for place in job.sets.values())


def draw(folder: Any, job: Any, patience_s: float) -> int:
    """Draw a job's sets, for a process that owns the job; returns an exit code.

    The job is left "waiting" for its training, or as it was wished meanwhile.
    """
    from ..training.sets.plan import is_planned, read_plan
    from ..training.worker.failure import FINISHED, recorded

    session: Any = None

    def run() -> int:
        nonlocal session
        from ..training.drawing.start import import_comfyui

        place = next(Path(place) for place in job.sets.values() if is_planned(Path(place)))
        import_comfyui(read_plan(place)[0].host)
        from ..training.drawing.session import Session

        session = Session(folder, job, patience_s)
        session.run()
        return FINISHED

    return recorded(folder, run, lambda: session.doing if session else "importing ComfyUI")


def draw_beside(folder: Any) -> int | None:
    """Draw a job's sets in a process beside this one, which trains it then.

    An exit code where the job is not for training after that: it was stopped, or it failed. Raises
    UserError under a launcher that starts several processes.
    """
    import os

    from ..common import files
    from ..common.errors import UserError
    from ..common.processes import PYTHON_FLAGS

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            folder.path, "sets that are yet to be drawn", "drawn ones, for several processes",
            "Resume it without the launcher until it trains, then stop it and start this again.",
        )  # fmt: skip  # subject, found, expected, next move
    print("drawing its sets first", file=sys.stderr)
    command = [sys.executable, *PYTHON_FLAGS, str(PACK / "__main__.py"), "train", "work"]
    with files.opened(folder.log, "ab") as log:
        command += [str(folder.path), "--patience", "inf"]
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    state = folder.read_state()
    if state.phase == "failed":
        print(f"error: {state.message}", file=sys.stderr)
    return None if state.phase == "waiting" and not code else code
