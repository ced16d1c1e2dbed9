"""What tests of the queue share."""

from collections.abc import Iterator

import pytest

from helpers.queue_place import Place


@pytest.fixture
def place(tmp_path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()
