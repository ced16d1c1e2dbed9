"""A worker whose job begins with drawing four items that are files; then steady_worker trains it.

habit: "draws" as it should, "dies" after each item, "stuck" before the first one.
"""

import importlib
import os
import sys
import time
from pathlib import Path

COUNT, ITEM_S = 4, 0.1


def draw(path: Path, habit: str) -> None:
    job = importlib.import_module("still_moving.training.jobs.job")
    folder, place = job.JobFolder(path), path / "items"
    place.mkdir(exist_ok=True)
    with folder.owned():
        while (done := len(list(place.iterdir()))) < COUNT:
            folder.write_state(job.State("running", 0, done, COUNT, drawing=True))
            if habit == "stuck":
                os._exit(1)
            time.sleep(ITEM_S)
            (place / str(done)).touch()
            folder.report("drawn", stage=0, step=done + 1, steps=COUNT, eta_s=1.5)
            folder.write_state(job.State("running", 0, done + 1, COUNT, drawing=True))
            if habit == "dies":
                os._exit(1)
        folder.write_state(job.State("waiting"))


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    importlib.import_module("helpers.pack").load_pack()
    folder, diary, habit = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if len(list((folder / "items").glob("*"))) < COUNT:
        draw(folder, habit)
    else:
        importlib.import_module("helpers.steady_worker").main(folder, diary)
