"""A ComfyUI server as an artist starts it: its own process, with the pack in custom_nodes."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.host import packs

ROOT = Path(__file__).resolve().parents[3]
PACK = "ComfyUI-StillMoving"  # how its folder is called there
START_S = 180
PROMPT_S = 300


class Server:
    """ComfyUI on a free port, with nothing in its folders but the pack; ``with`` stops it.

    base: an empty folder that takes the place of ComfyUI's models, input, output and user folders;
    device: "cpu", or "gpu" for the card that ComfyUI finds; beside: other packs' folders.
    """

    answer_s = 30  # for a request

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        frontend: Path | None = None,
        device: str = "cpu",
        beside: Sequence[Path] = (),
    ):
        self.comfyui, self.base, self.log = comfyui, base, base / "server.log"
        self.frontend, self.device, self.beside = frontend, device, beside
        self.url = f"http://127.0.0.1:{_free_port()}"

    def __enter__(self) -> "Server":
        custom_nodes = self.base / "custom_nodes"
        custom_nodes.mkdir(parents=True)
        (custom_nodes / PACK).symlink_to(ROOT, target_is_directory=True)
        for folder in self.beside:
            (custom_nodes / folder.name).symlink_to(folder, target_is_directory=True)
        self._start()
        return self

    def restart(self) -> None:
        """End it and start it again, on the same port with the same folders."""
        self.__exit__()
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "main.py", *self._options()],
                cwd=self.comfyui,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self._packages(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.wait_until(self._answers, START_S)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str):
        """The JSON that a GET of this path answers."""
        with urllib.request.urlopen(self.url + path, timeout=self.answer_s) as answer:
            return json.load(answer)

    def post(self, path: str, content: object) -> bytes:
        """What a POST of this content as JSON answers."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=self.answer_s) as answer:
            return answer.read()

    def delete(self, path: str) -> bytes:
        """What a DELETE of this path answers."""
        request = urllib.request.Request(self.url + path, method="DELETE")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def run(self, prompt: dict) -> dict:
        """Run a prompt in API form to its end; what its output nodes reported, by node id.

        Raises RuntimeError with ComfyUI's own words when it refuses the prompt or a node fails.
        """
        try:
            prompt_id = json.loads(self.post("/prompt", {"prompt": prompt}))["prompt_id"]
        except urllib.error.HTTPError as refusal:
            raise RuntimeError(refusal.read().decode()) from None
        self.wait_until(lambda: prompt_id in self.get(f"/history/{prompt_id}"))
        ended = self.get(f"/history/{prompt_id}")[prompt_id]
        if ended["status"]["status_str"] != "success":
            raise RuntimeError(json.dumps(ended["status"]["messages"][-1], indent=1))
        return ended["outputs"]

    def wait_until(self, done: Callable[[], bool], patience_s: float = PROMPT_S) -> None:
        """Ask until it is so. Raises RuntimeError with the log if the server died meanwhile."""
        end = time.monotonic() + patience_s
        while not done():
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"ComfyUI ended with exit code {code}:\n{self.tail()}")
            if time.monotonic() > end:
                raise TimeoutError(f"nothing within {patience_s} s:\n{self.tail()}")
            time.sleep(0.1)

    def output_files(self, outputs: dict) -> list[Path]:
        """The files that these outputs name, temporary previews included."""
        return [
            self.base / entry["type"] / entry.get("subfolder", "") / entry["filename"]
            for node in outputs.values()
            for entries in node.values()
            for entry in entries
            if isinstance(entry, dict) and "filename" in entry
        ]

    def tail(self, lines: int = 40) -> str:
        """The end of the server's log."""
        return "\n".join(
            self.log.read_text(errors="replace", encoding="utf-8").splitlines()[-lines:]
        )

    def _packages(self) -> dict[str, str]:
        return {"PYTHONPATH": packs.import_path()} if self.beside else {}

    def _options(self) -> list[str]:
        port = self.url.rpartition(":")[2]
        options = ["--cpu"] if self.device == "cpu" else []
        options += ["--port", port, "--disable-auto-launch", "--disable-api-nodes"]
        options += ["--base-directory", str(self.base)]
        # The default database lies in the checkout, where an artist's own server may hold it.
        options += ["--database-url", f"sqlite:///{self.base / 'comfyui.db'}"]
        return options + (["--front-end-root", str(self.frontend)] if self.frontend else [])

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system_stats"))
        except OSError:
            return False


def frontend_version(comfyui: Path) -> str:
    """The version of the frontend package that is looked at: of STILL_MOVING_FRONTEND, or the one
    that this checkout asks for.
    """
    if chosen := os.environ.get("STILL_MOVING_FRONTEND"):
        return chosen
    requirements = (comfyui / "requirements.txt").read_text(encoding="utf-8")
    required = re.search(r"comfyui-frontend-package==([\d.]+)", requirements)
    assert required, f"{comfyui}/requirements.txt names no frontend"
    return required[1]


def frontend_of(comfyui: Path) -> Path | None:
    """The pages of that version where ``make`` put them beside the environment's own frontend.

    None where there are none: the environment's own frontend serves then. COMFYUI_FRONTENDS names
    another place.
    """
    places = Path(os.environ.get("COMFYUI_FRONTENDS") or sys.prefix)
    place = places / f"frontend-{frontend_version(comfyui)}"
    static = place / "comfyui_frontend_package" / "static"
    return static if static.is_dir() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
