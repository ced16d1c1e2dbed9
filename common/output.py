"""Printing into whatever there is: any code page, a pipe whose reader leaves, no console at all.

Windows gives pipes and files the code page of the country, which lacks most of the world's letters.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def printing() -> Generator[None, None, None]:
    """Print what a stream's code page lacks as \\u escapes; a reader that leaves ends the block.

    That is no error: head, less and pages that are closed have seen enough. All is written when
    the block ends, because at the interpreter's exit nobody could answer for what goes wrong.
    """
    for stream in (sys.stdout, sys.stderr):
        _take_any_name(stream)
    try:
        try:
            yield
        finally:
            _flush(sys.stdout)
    except OSError as error:
        if not reader_is_gone(error):
            raise
        _let_go()


def reader_is_gone(error: OSError) -> bool:
    """Whether an error says that nobody reads our output any more.

    Windows calls that an invalid argument (22), which can mean much else: then one more line end is
    written, to see whether it can be.
    """
    if isinstance(error, BrokenPipeError):
        return True
    unnamed = error.errno == errno.EINVAL and error.filename is None
    return unnamed and _broken() is not None


def printable(text: str) -> str:
    """The text as both streams of this process can write it."""
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    return text


class _Printable(logging.Filter):
    """Makes records ``printable``: for others, logging prints a traceback in their place."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
        return True


log = logging.getLogger("still_moving")  # of everything that runs inside ComfyUI
log.addFilter(_Printable())


def _take_any_name(stream: Any) -> None:
    # With the latter, names that are no Unicode come out as they are in the folder.
    kept = ("utf-8", "surrogateescape")
    if isinstance(stream, io.TextIOWrapper) and (stream.encoding, stream.errors) != kept:
        stream.reconfigure(errors="backslashreplace")


def _flush(stream: Any) -> None:
    if stream is not None and not stream.closed:  # None: a Windows program without a console
        stream.flush()


def _is_broken(stream: Any) -> bool:
    try:
        if stream is not None:
            stream.write("\n")
        _flush(stream)
    except OSError:
        return True
    return False


def _broken() -> Any:
    """The stream that nobody reads, if there is one."""
    return next(filter(_is_broken, (sys.stdout, sys.stderr)), None)


def _let_go() -> None:
    """Have what is still to be written go nowhere, at the interpreter's exit, too."""
    stream = _broken()
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
