"""A folder of stills, for every test of sets."""

import pytest

from helpers.set_folders import SCENES, write_still


@pytest.fixture
def stills(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    for index in range(4):
        write_still(folder, f"still {index}", SCENES[index * 7], index)
    return folder
