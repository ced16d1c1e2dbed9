"""The files of a worker's jobs."""

from pathlib import Path

import pytest

from helpers.small import (
    write_files,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("files"))
