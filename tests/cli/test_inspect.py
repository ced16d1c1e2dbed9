"""``inspect`` and ``cache``: what a file or a folder is, and what becomes of it."""

import dataclasses
import json

import pytest
from PIL import Image

from helpers.small import (
    main,
    new_job,
    random_motion_adapter,
    spatial_recipe,
    write_files,
)
from still_moving.adapters.files.adapter import Adapter, save_adapter


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


def test_inspect_names_each_kind(files, tmp_path):
    job = new_job(tmp_path / "job", spatial_recipe(steps=1), files)
    assert main("train", "resume", job.path)[0] == 0
    kinds = {}
    paths = {**files, "spatial": job.exports / "made.safetensors"}
    code, out = main("inspect", "--json", *paths.values())
    assert code == 0
    for name, line in zip(paths, out.splitlines(), strict=True):
        facts = json.loads(line)
        assert facts["path"] == str(paths[name])
        kinds[name] = facts["is"]
    assert kinds == {
        "checkpoint": "checkpoint",
        "motion_module": "motion module",
        "adapter": "motion adapter",
        "frames": "cached clips",
        "customized": "cached stills",
        "natural": "cached clips",
        "spatial": "spatial adapter",
    }
    code, out = main("inspect", files["checkpoint"])
    assert code == 0
    assert "shapes" in out


@pytest.mark.parametrize("text", ["{}", "no JSON", "[]", "3", '{"name": "mine"}'])
def test_inspect_reads_adapters_of_any_recipe(tmp_path, text):
    adapter = random_motion_adapter()
    path = tmp_path / "a.safetensors"
    save_adapter(path, Adapter(dataclasses.replace(adapter.info, recipe=text), adapter.pairs))
    code, out = main("inspect", "--json", path)
    assert code == 0
    assert json.loads(out)["recipe"] == ("mine" if "mine" in text else "unknown")


def test_inspect_prints_no_escape_codes(tmp_path):
    adapter = random_motion_adapter()
    info = dataclasses.replace(adapter.info, recipe='{"name": "\\u001b[31mred\\udc80\\n"}')
    save_adapter(tmp_path / "a.safetensors", Adapter(info, adapter.pairs))
    code, out = main("inspect", tmp_path / "a.safetensors")
    assert code == 0
    assert r"\x1b[31mred\udc80\n" in out


def test_cache_then_inspect_the_shapes_way(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (48, 32), (90 * i, 50, 20)).save(tmp_path / "photos" / f"{i}.png")
    command = ["cache", tmp_path / "photos", tmp_path / "set", "--shapes", "--prompt", "red circle"]
    command += ["--width", 32, "--height", 32]
    code, out = main(*command, "--preflight", "--json")
    assert code == 0
    assert json.loads(out)
    assert not (tmp_path / "set").exists()
    code, out = main(*command)
    assert code == 0
    assert "2 stills cached" in out
    code, out = main("inspect", "--json", tmp_path / "set")
    assert json.loads(out)["items"] == 2
