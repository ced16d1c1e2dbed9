"""A worker without a network: takes a job's steps, 10 ms each, and obeys as the true one does.

For laws about queues, which do not depend on what a step computes. It reports to log.txt when it
begins and ends a life, so that a test can see whether two ever ran at once. Further arguments make
it worse: see ``HABITS``.
"""

import importlib
import sys
import time
from pathlib import Path

STEP_S = 0.01
LINGER_S, LONG_S = 1.5, 30.0
HABITS = (
    "lingers",  # after its last word its process goes on for a while
    "lingers long",  # longer than anybody waits for it
    "holds",  # the lock meanwhile
    "repeats",  # its last word then, whatever was written since
    "exports slowly",  # between the wish to stop and its last word
    "fails",  # where another would stop
)


def main(path: Path, diary: Path, *habits: str) -> None:
    assert set(habits) <= set(HABITS)
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    importlib.import_module("helpers.pack").load_pack()
    job = importlib.import_module("still_moving.training.jobs.job")
    system = importlib.import_module("still_moving.common.system")
    write = importlib.import_module("still_moving.common.atomic").atomic_write_text
    signatures = importlib.import_module("still_moving.common.signatures")
    folder = job.JobFolder(path)
    with system.exclusive(folder.lock) as held:
        assert held
        folder.pid.write_text(signatures.signature(), encoding="utf-8")
        note(diary, "begin", path)
        live(folder, job.State, folder.load(), write, habits)
        last = folder.read_state()
        if "holds" in habits:
            time.sleep(LINGER_S)
            if "repeats" in habits:
                folder.write_state(last)
    if "lingers" in habits:
        time.sleep(LINGER_S)
    if "lingers long" in habits:
        time.sleep(LONG_S)
    note(diary, "end", path)


def note(diary: Path, event: str, path: Path) -> None:
    with diary.open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"{event} {path.name}\n")


def live(folder, state, job, write, habits) -> None:
    latest, steps = folder.checkpoints / "latest", job.recipe.stages[0].steps
    latest.parent.mkdir(exist_ok=True)
    step = int(latest.read_text(encoding="utf-8")) if latest.exists() else 0

    def enter(phase: str) -> None:
        folder.write_state(state(phase, 0, step, steps))
        folder.report("phase", stage=0, step=step, phase=phase)

    def save() -> None:
        write(latest, str(step))

    def export() -> None:
        folder.exports.mkdir(exist_ok=True)
        path = folder.exports / f"{job.name}.safetensors"
        write(path, f"{job.name} at {step}")
        folder.report("exported", stage=0, step=step)

    enter("running")
    now = "running"
    while step < steps:
        wanted, sharing = folder.read_control().wanted, folder.read_sharing()
        if wanted == "stop":
            save()
            export()
            time.sleep(LINGER_S * ("exports slowly" in habits))
            enter("failed" if "fails" in habits else "stopped")
            return
        if sharing == "leave":
            save()
            enter("waiting")
            return
        goal = "paused" if wanted == "pause" else "running" if sharing == "run" else "yielding"
        if goal != now:
            save()
            enter(goal)
            now = goal
        if now == "running":
            step += 1
            folder.report("step", stage=0, step=step, loss=1 / step, loss_average=1 / step)
        time.sleep(STEP_S)
    export()
    enter("finished")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
