"""What an artist asks of a job, carried out."""

from __future__ import annotations

from typing import Literal, get_args

from ...common.errors import UserError
from ..jobs.job import State
from ..jobs.phase import ENDED
from .board import Board
from .watched_job import WatchedJob

Command = Literal["pause", "resume", "stop", "save", "sample", "open"]
COMMANDS: tuple[Command, ...] = get_args(Command)


def obey(board: Board, watched: WatchedJob, command: Command) -> None:
    """Write into a job's folder what its worker shall do; "open" is nothing to it.

    Raises UserError where the job is not for that, and OSError where its folder takes no file: the
    same command may be given again then.
    """
    folder, ended = watched.folder, watched.state.phase in ENDED
    if command == "open":
        return
    if watched.damage:
        raise UserError(watched.id, "a damaged job", "a whole one", "Delete it and start anew.")
    if command in ("save", "sample"):
        if ended or not watched.worked_on:
            raise UserError(watched.id, "no worker at this job", "a running job", "Resume it.")
        folder.send(save=command == "save", sample=command == "sample")
    elif command == "resume":
        _resume(board, watched, ended)
    elif not ended:
        folder.send(command)
        if command == "stop" and not watched.worked_on:
            _stop_waiting(board, watched)


def _resume(board: Board, watched: WatchedJob, ended: bool) -> None:
    """Have a job go on: at once, or when the process that ended it is gone."""
    if watched.state.phase == "finished":
        raise UserError(watched.id, "a finished job", "one that is not", "Press Train again.")
    watched.trouble, watched.deaths, watched.left = "", 0, False
    watched.folder.send("run")  # first: a stop that stands would end the job again
    if ended:
        watched.wait_again()
        board.put([watched.id], first=False)


def _stop_waiting(board: Board, watched: WatchedJob) -> None:
    """End a job that nobody runs: at once if nothing is learned, else by its next worker."""
    if watched.has_checkpoint():
        board.put([watched.id], first=True)
    else:
        watched.folder.write_state(State("stopped"))
