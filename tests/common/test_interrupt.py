"""Work that can be stopped half-way."""

import threading

import pytest

from still_moving.common import interrupt


class CancelledError(Exception):
    pass


def cancel():
    raise CancelledError


def reading() -> str:
    """As readers do: every error that a damaged file can raise becomes words."""
    try:
        interrupt.check()
    except Exception:
        return "a damaged file"
    return "read"


def test_nobody_stops_what_nobody_may():
    assert reading() == "read"


def test_the_stop_comes_out_as_it_was_raised_through_what_catches_all_errors():
    with pytest.raises(CancelledError) as caught, interrupt.interruptible(cancel):
        reading()
    assert caught.value.__cause__ is None
    assert reading() == "read"  # it is over


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), interrupt.interruptible(lambda: None):
        _ = 1 / 0


def test_an_inner_stop_is_the_one_that_counts():
    with interrupt.interruptible(cancel):
        with interrupt.interruptible(lambda: None):
            assert reading() == "read"
        with pytest.raises(CancelledError), interrupt.interruptible(cancel):
            reading()


def test_another_thread_is_not_stopped():
    heard = []
    with interrupt.interruptible(cancel):
        thread = threading.Thread(target=lambda: heard.append(reading()))
        thread.start()
        thread.join()
    assert heard == ["read"]
