"""What a part that is no pytest has found: one line a check, counted as tests are."""

import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path


class Checks:
    """Named facts that hold or do not, said as they are found."""

    def __init__(self, say: Callable[[str], None]):
        self.say, self.passed, self.failed = say, 0, 0

    @contextmanager
    def one(self, name: str) -> Generator[list[str], None, None]:
        """A check: what the block asserts. Further words for its line go into the list.

        A failure is said and counted, and ends no other check.
        """
        begun, words = time.monotonic(), list[str]()
        try:
            yield words
        except Exception as error:
            self.failed += 1
            line = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(line.filename).name}:{line.lineno}: {line.line}"
            self.say(f"FAILED {name}: {type(error).__name__} at {place}\n{str(error)[:2000]}")
        else:
            self.passed += 1
            told = "; ".join(words)
            self.say(f"{name} ({time.monotonic() - begun:.1f} s){': ' if told else ''}{told}")
