"""Every path that the pack makes is one that Windows takes: 259 characters, whatever it is for.

Measured as in the portable build, unpacked where downloads go, by watching what a real ComfyUI and
its workers touch while they do everything with the longest names that are allowed. So a new maker
of paths is watched without being listed.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.host import live
from helpers.host.training_graph import clips_graph, node, pressed
from helpers.small import ROOT
from still_moving.common.long_paths import MOST_FOLDER, MOST_PATH
from still_moving.common.names import MOST_FILE, MOST_NAME, length
from still_moving.training.jobs.phase import ENDED

PORTABLE = (
    "C:\\Users\\firstname\\Downloads\\ComfyUI_windows_portable_nvidia\\"
    "ComfyUI_windows_portable\\ComfyUI\\"
)
STAGE_FILES = (" appearance", " appearance words", "_appearance_words")  # the last for prompts
MOST_TEMPORARY = 20  # of a name that is not yet, or no longer, the file's own
EXPECTED = {
    "n": {f"{'n' * MOST_NAME}{more}.safetensors" for more in ("", *STAGE_FILES)},
    "e": {f"{'e' * 100}{more}.safetensors" for more in ("", "_1")},
}
SITE = Path(live.__file__).with_name("site")

pytestmark = pytest.mark.slow


def there(path: str) -> int:
    """Characters of a path below ComfyUI's folder, in the portable build."""
    return length(PORTABLE) + length(path)


@pytest.fixture(scope="module")
def touched(tmp_path_factory, comfyui) -> dict[str, set[str]]:
    """Paths below ComfyUI's folder by what was done to them; under "listing": what is left."""
    base, notes = tmp_path_factory.mktemp("watched"), tmp_path_factory.mktemp("notes") / "paths"
    path = os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("STILL_MOVING_WATCH", str(base))
        patch.setenv("STILL_MOVING_PATHS", str(notes))
        with live.Server(comfyui, base, live.frontend_of(comfyui)) as server:
            left = do_everything(server)
    paths: dict[str, set[str]] = {"listing": left}
    for line in notes.read_text(encoding="utf-8").splitlines():
        event, _, path = line.partition("\t")
        paths.setdefault(event, set()).add(os.path.relpath(path, base))
    return paths


def do_everything(server: live.Server) -> set[str]:
    """Train with words and in full, sample, stop, export, delete; what lay there at last."""
    name, ids = "n" * MOST_NAME, {}
    methods: dict[str, dict[str, Any]] = {
        "Customize-A-Video": {"steps": 100_000, "appearance_steps": 1},
        "VMC": {"steps": 1},
    }
    for method, numbers in methods.items():
        graph = clips_graph(method, name=name, **numbers)
        out = server.run(pressed(graph, f"long {method}", method))["train"]
        ids[method] = f"/still_moving/jobs/{out['still_moving_job'][0]}"
    long = ids["Customize-A-Video"]
    server.wait_until(lambda: (view := server.get(long))["stage"] == 1 and view["step"] > 0)
    server.post(f"{long}/sample", {})
    server.wait_until(lambda: bool(server.get(long)["samples"]))
    server.post(f"{long}/stop", {})
    server.wait_until(lambda: all(server.get(id)["phase"] in ENDED for id in ids.values()))
    assert {server.get(id)["phase"] for id in ids.values()} == {"stopped", "finished"}
    for scale in (1.0, 0.5):  # the second file gets a number
        export(server, "e" * 100, scale)
    left = {os.path.relpath(path, server.base) for path in server.base.rglob("*")}
    for id in ids.values():
        server.delete(id)
    return left


def export(server: live.Server, name: str, scale: float) -> None:
    file = "demo: shapes_spatial_adapter.safetensors"
    graph = {
        "world": node("LoadShapesWorld"),
        "export": node(
            "ExportSpatialAdapter", model=["world", 1], scale=scale, name=name, file=file
        ),
    }
    server.run(graph)


def test_no_path_is_too_long_for_windows(touched):
    whole = {path for paths in touched.values() for path in paths if not path.startswith("..")}
    assert {path: there(path) for path in whole if there(path) > MOST_PATH} == {}
    made = touched["os.mkdir"] | {os.path.dirname(path) for path in whole}
    assert {path: there(path) for path in made if there(path) > MOST_FOLDER} == {}


def test_a_temporary_name_fits_beside_every_file(touched):
    folders = {os.path.dirname(path) for path in touched["os.rename"] | touched["listing"]}
    long = {path: there(path) + 1 + MOST_TEMPORARY for path in folders}
    assert {path: n for path, n in long.items() if n > MOST_PATH} == {}


def test_the_longest_name_of_an_export_fits(touched):
    (longest,) = {len(path) for path in touched["listing"] if Path(path).name == "export"}
    assert there("") + longest + 1 + MOST_FILE <= MOST_PATH


def test_everything_was_watched(touched):
    """What the laws above would say nothing of, were it not done or not seen."""
    names = {Path(path).name for path in touched["listing"]}
    for stem in ("n" * MOST_NAME, "e" * 100):
        assert {name for name in names if name.startswith(stem)} == EXPECTED[stem[0]]
    parts = {part for path in touched["listing"] for part in Path(path).parts}
    assert {"jobs", "sets", "objects", "pictures", "weights", "ckpt", "samples"} <= parts
    assert {"embeddings", "still_moving_motion_weights"} <= parts
    renamed = {Path(path).suffix for path in touched["os.rename"]}
    assert {".safetensors", ".json", ".webp", ".png", ".tmp"} <= renamed
    assert touched["os.rmdir"]  # the deletion's


def test_the_pack_s_own_files_fit_too():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False
    ).stdout.decode()
    folder = "custom_nodes\\ComfyUI-StillMoving-main\\"
    long = {path for path in listed.split("\0") if there(folder + path) > MOST_PATH}
    assert long == set()
