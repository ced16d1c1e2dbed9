"""What tests of the queue share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.open_files import windows_refusals
from helpers.queue_place import Place
from helpers.small import write_files


@pytest.fixture
def place(tmp_path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def one_thread(monkeypatch):
    """Sums depend on the number of threads; child processes have one too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def windows(tmp_path):
    with windows_refusals(tmp_path) as refusals:
        yield refusals
