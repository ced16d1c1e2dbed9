"""ComfyUI's Cancel, for work that lasts longer than a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management

from ...common import interrupt


@contextmanager
def cancellable() -> Iterator[None]:
    """Let Cancel stop what is done inside, where that asks ``interrupt.check``; a decorator, too.

    Raises ComfyUI's InterruptProcessingException, which ends the prompt and is no error.
    """
    with interrupt.interruptible(comfy.model_management.throw_exception_if_processing_interrupted):
        yield
