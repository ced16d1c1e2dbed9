"""Processes for the tests of demo.lanes: ``serve`` is one, ``begin`` has some make parts."""

import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]
    from helpers.pack import load_pack

    load_pack()

from still_moving.common.errors import UserError
from still_moving.demo.lanes import Part, Report, make_beside, serve

FILE = Path(__file__)
SERVE, BEGIN = ([sys.executable, str(FILE), role] for role in ("serve", "begin"))


def parts_of(folder: str) -> list[Part]:
    """What can be made in a folder, well and badly."""
    made = Path(folder)

    def write(name: str, report: Report) -> None:
        print("what others print is no answer")
        report(0.5, "half")
        (made / name).write_text(str(os.getpid()), encoding="utf-8")

    def together(name: str, report: Report) -> None:
        """As long as the other is not being made, too, this one is not done."""
        write(name, report)
        while not all((made / each).exists() for each in ("left", "right")):
            time.sleep(0.01)

    def late(report: Report) -> None:
        assert (made / "left").exists(), "it needs that"
        write("late", report)

    def mistake(_report: Report) -> None:
        raise UserError("a file", "nothing", "a picture", "Look for it.")

    def endless(report: Report) -> None:
        write("endless", report)
        while True:
            time.sleep(1)

    return [
        Part("late", late, 1, ("left",)),
        Part("left", lambda report: together("left", report), 1),
        Part("right", lambda report: together("right", report), 2),
        Part("alone", lambda report: write("alone", report), 1),
        Part("mistake", mistake, 1),
        Part("crash", lambda _report: print(1 / 0), 1),
        Part("death", lambda _report: os._exit(7), 1),
        Part("endless", endless, 1),
    ]


def chosen(folder: str, *names: str) -> list[Part]:
    return [part for part in parts_of(folder) if part.name in names]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(parts_of)
    else:
        print("begun", flush=True)
        make_beside(chosen(sys.argv[2], "endless"), SERVE, sys.argv[2], 1, lambda *_news: None)
