"""docs/api.md as a script follows it: every curl line runs against a started ComfyUI."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.host.live import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
# The lines run as they stand; this one alone makes curl say the status as well.
SHELL = """curl() { command curl --write-out '%{stderr}%{http_code}' "$@"; }"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def documented_fields() -> set[str]:
    """Of a job, as the page's table names them."""
    table = PAGE[PAGE.index("| field |") :].split("\n\n")[0]
    named = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name for cell in named for name in re.findall(r"`(\w+)`", cell)}


class Script:
    """The page's lines that nobody has run yet, and what its variables stand for."""

    def __init__(self, server, folder: Path):
        self.server, self.folder = server, folder
        lines = [line for block in blocks("sh") for line in block.splitlines()]
        self.left = [line for line in lines if line.startswith("curl")]
        self.variables = {"COMFYUI": server.url}
        (folder / "train.json").write_text(blocks("json")[0], encoding="utf-8")

    def run(self, pattern: str, **changes: str) -> bytes:
        """Run the one line that a pattern finds, with words of it changed; what it answers."""
        (line,) = [line for line in self.left if re.search(pattern, line)]
        self.left.remove(line)
        for old, new in changes.items():
            assert old in line
            line = line.replace(old, new)
        named = [f"{name}='{value}'" for name, value in self.variables.items()]
        finished = subprocess.run(
            ["bash", "-euc", "\n".join([SHELL, *named, line])],
            cwd=self.folder, capture_output=True, timeout=120,
        )  # fmt: skip  # many short values, several a line
        assert (finished.returncode, finished.stderr) == (0, b"200"), (line, finished)
        return finished.stdout

    def json(self, pattern: str) -> dict:
        return json.loads(self.run(pattern))

    def job(self) -> dict:
        return self.server.get(f"/still_moving/jobs/{self.variables['JOB']}")

    def wait_for(self, phase: str, step: int = 0) -> None:
        self.server.wait_until(lambda: self.job()["phase"] == phase and self.job()["step"] >= step)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="no curl or bash")
def test_every_line_of_the_page_does_what_the_page_says(server, tmp_path):
    script = Script(server, tmp_path)
    begun = script.json("/prompt$")
    assert set(begun) == {"prompt_id", "number", "node_errors"}
    script.variables["PROMPT"] = begun["prompt_id"]
    server.wait_until(lambda: begun["prompt_id"] in server.get(f"/history/{begun['prompt_id']}"))
    entry = script.json("/history/")[begun["prompt_id"]]
    (id,) = entry["outputs"]["train"]["still_moving_job"]
    script.variables["JOB"] = id
    script.wait_for("running", step=1)

    assert id in [view["id"] for view in script.json("/jobs$")["jobs"]]
    assert set(script.json(r"-s \S+/jobs/\$JOB$")) == documented_fields()
    assert script.json("/pause")["id"] == id
    script.wait_for("paused")
    assert id in [view["id"] for view in script.json("/queue$")["jobs"]]
    assert script.json("/resume")["id"] == id
    script.wait_for("running")
    assert script.json("/save")["id"] == id
    assert script.json(r"/sample\b")["id"] == id
    server.wait_until(lambda: script.job()["samples"])
    script.run("/samples/", **{"150.webp": script.job()["samples"][-1]})
    assert (tmp_path / "sample.webp").read_bytes()[8:12] == b"WEBP"
    assert set(script.json("/log$")) == {"log"}
    assert script.json("/stop")["id"] == id
    script.wait_for("stopped")
    assert script.job()["adapter"] == "from a script.safetensors"
    assert script.json("-X DELETE") == {"removed": id}
    assert script.left == []
