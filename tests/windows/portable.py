"""ComfyUI as the portable build starts it, over HTTP: generate, train, break, take over, delete."""

import random
import shutil
import time
import urllib.request
from collections import deque
from collections.abc import Callable

from PIL import Image
from safetensors.torch import load_file

from helpers.host import examples
from helpers.host.live import Server
from helpers.host.training_graph import motion_graph, pressed
from helpers.small import differences

from .checks import Checks
from .place import PACK, Place
from .wine import listen

NAME = "from Windows ü"
JOBS = "/still_moving/jobs"
LONG, STEPS = 100_000, 24  # of a training: until somebody ends it, and of one that is compared
LONGEST_SAVE_S = 2.0  # from the wish for a checkpoint until both processes are killed
PATIENCE_S = 600  # Wine asks for each of the thousands of files that Python imports from


class Portable(Server):
    """``run_cpu.bat`` of the portable build, on a free port; ``with`` stops it."""

    answer_s = 120  # Wine's one server answers all of its programs' calls, also on a busy machine

    def __init__(self, place: Place):
        super().__init__(place.comfyui, place.comfyui)
        self.place, self.lines = place, deque[str](maxlen=400)
        self.user = place.comfyui / "user" / "still_moving"
        self.adapters_folder = place.comfyui / "models" / "animatediff_motion_lora"

    def __enter__(self) -> "Portable":
        self.start()
        return self

    def start(self) -> None:
        port = self.url.rpartition(":")[2]
        command = [r".\\python_embeded\\python.exe", "-s", r"ComfyUI\\main.py", "--cpu"]
        command += ["--windows-standalone-build", "--disable-auto-launch", "--port", port]
        self._process = self.place.wine.popen(command, self.place.portable)
        listen(self._process, self.lines.append)
        self.wait_until(self._answers, PATIENCE_S)

    def kill(self) -> None:
        """End it as the task manager does."""
        self._process.kill()
        self._process.wait()

    def end(self, windows_pid: str) -> bool:
        """End another Windows process; whether there was one."""
        command = ["taskkill", "/f", "/pid", windows_pid]
        return self.place.wine.run(command, self.place.portable, lambda _line: None, 30) == 0

    def worker(self, id: str) -> str:
        """The number of the process that works at a job, or did last."""
        return (self.user / "jobs" / id / "pid").read_text(encoding="utf-8").split()[0]

    def adapters(self) -> list[str]:
        return sorted(path.name for path in self.adapters_folder.rglob("*.safetensors"))

    def made(self, name: str) -> list[str]:
        """What lies in a folder of the trainer's own files."""
        folder = self.user / name
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def tail(self, lines: int = 40) -> str:
        return "\n".join(list(self.lines)[-lines:])

    def view(self, id: str) -> dict:
        return self.get(f"{JOBS}/{id}")

    def tell(self, id: str, command: str) -> None:
        self.post(f"{JOBS}/{id}/{command}", {})

    def reach(self, id: str, truth: Callable[[dict], bool]) -> dict:
        """The job's view as soon as it is so. Raises AssertionError when it ends otherwise."""
        views: list[dict] = []

        def so() -> bool:
            views.append(self.view(id))
            if not truth(views[-1]):
                assert views[-1]["phase"] != "failed", views[-1]["message"]
                return False
            return True

        self.wait_until(so, PATIENCE_S)
        return views[-1]


def train(server: Portable, steps: int, name: str, token: str) -> str:
    """Press Train; the job's id."""
    prompt = pressed(motion_graph(steps, name), token=token)
    (id,) = server.run(prompt)["train"]["still_moving_job"]
    return id


def run(place: Place, checks: Checks, kills: int) -> None:
    """A day with ComfyUI. kills: how often ComfyUI's own process is ended during one training."""
    for folder in ("user", "models/animatediff_motion_lora"):  # of an earlier run
        shutil.rmtree(place.comfyui / folder, ignore_errors=True)
        (place.comfyui / folder).mkdir(parents=True)
    with Portable(place) as server:
        with checks.one("ComfyUI has the pack's nodes") as words:
            nodes = [name for name in server.get("/object_info") if name.startswith("StillMoving")]
            assert len(nodes) >= 20, server.tail()
            failed = [line for line in server.lines if "IMPORT FAILED" in line and PACK in line]
            assert failed == [], server.tail()
            words.append(f"{len(nodes)} nodes")
        with checks.one("a workflow gives a clip") as words:
            outputs = server.run(examples.api_form("customized_clip"))
            for path in server.output_files(outputs):
                with Image.open(path) as clip:
                    words.append(f"{path.name}, {getattr(clip, 'n_frames', 1)} frames")
            assert any(word.endswith(", 8 frames") for word in words), words
        steer(server, checks)
        take_over(server, checks)
        break_often(server, checks, kills)


def steer(server: Portable, checks: Checks) -> None:
    """Pause, sample, stop and resume."""
    with checks.one("a training runs") as words:
        id = train(server, LONG, NAME, "steered")
        server.reach(id, lambda view: view["phase"] == "running" and view["step"] >= 5)
        words.append(id)
    with checks.one("it pauses and goes on"):
        server.tell(id, "pause")
        step = server.reach(id, lambda view: view["phase"] == "paused")["step"]
        server.tell(id, "resume")
        server.reach(id, lambda view: view["step"] > step)
    with checks.one("it shows a sample"):
        server.tell(id, "sample")
        sample = server.reach(id, lambda view: view["samples"])["samples"][-1]
        with urllib.request.urlopen(f"{server.url}{JOBS}/{id}/samples/{sample}") as answer:
            assert answer.read(4) == b"RIFF"
    with checks.one("it stops, and its adapter is where artists find it") as words:
        server.tell(id, "stop")
        view = server.reach(id, lambda view: view["phase"] == "stopped" and view["adapter"])
        words.append(view["adapter"])
    with checks.one("resumed in the same moment, it goes on"):
        server.tell(id, "resume")
        step = server.reach(id, lambda view: view["phase"] == "running")["step"]
        server.reach(id, lambda view: view["step"] > step)


def take_over(server: Portable, checks: Checks) -> None:
    """Kill ComfyUI and start it again: its worker lives on, the next one has it, and deletes it."""
    id = newest(server)
    folder = server.user / "jobs" / id
    with checks.one("ComfyUI is killed, its worker lives on, and the next ComfyUI takes it up"):
        step, worker = server.view(id)["step"], server.worker(id)
        server.kill()
        server.start()
        server.reach(id, lambda view: view["phase"] == "running" and view["step"] > step)
        assert server.worker(id) == worker
    with checks.one(
        "deleted then, it is gone with its weights and sets; its adapter stays"
    ) as words:
        adapters = server.adapters()
        begun = time.monotonic()
        server.delete(f"{JOBS}/{id}")
        words.append(f"answered after {time.monotonic() - begun:.1f} s")
        assert id not in [view["id"] for view in server.get(JOBS)["jobs"]]
        server.wait_until(lambda: not folder.exists(), 60)
        left = [p for name in ("weights", "sets", "pictures") for p in server.made(name)]
        assert left == [], left
        assert server.adapters() == adapters != []


def break_often(server: Portable, checks: Checks, kills: int) -> None:
    """End ComfyUI and its worker again and again; what is learned is the same bit for bit."""
    with checks.one("a training that nobody disturbs") as words:
        whole = finished(server, train(server, STEPS, "whole", "whole"))
        words.append(f"{whole['step']} steps, {whole['seconds_per_step']:.2f} s each")
    with checks.one(f"one in which ComfyUI and the worker are killed {kills} times each") as words:
        dice, ids = random.Random(0), [train(server, STEPS, "broken 0", "broken 0")]
        killed = 0
        while killed < kills:
            if server.view(ids[-1])["phase"] == "finished":
                ids.append(train(server, STEPS, f"broken {len(ids)}", f"broken {len(ids)}"))
            killed += break_once(server, ids[-1], dice)
        views = [finished(server, id) for id in ids]
        words.append(f"{len(ids)} jobs, {kills} kills of each")
        one = load_file(server.adapters_folder / whole["adapter"])
        for view in views:
            unequal = differences(one, load_file(server.adapters_folder / view["adapter"]))
            assert unequal == [], (view["id"], unequal)


def break_once(server: Portable, id: str, dice: random.Random) -> bool:
    """Let a job come further, ask for a save, end both processes in this moment, start again.

    Returns whether there was a worker to end.
    """
    step = server.view(id)["step"]
    view = server.reach(id, lambda it: it["step"] > step or it["phase"] == "finished")
    if view["phase"] == "finished":
        return False
    server.tell(id, "save")
    time.sleep(dice.uniform(0, LONGEST_SAVE_S))
    worker = server.worker(id)
    if dice.random() < 0.5:  # ComfyUI sees its worker's end, or does not
        ended = server.end(worker)
        server.kill()
    else:
        server.kill()
        ended = server.end(worker)
    server.start()
    return ended


def finished(server: Portable, id: str) -> dict:
    """The job's view when it is finished; Resume is pressed where the supervisor gave up."""

    def over() -> bool:
        view = server.view(id)
        if view["phase"] == "failed":
            assert "without a new checkpoint" in view["message"], view["message"]
            server.tell(id, "resume")
        return view["phase"] == "finished" and bool(view["adapter"])

    server.wait_until(over, PATIENCE_S)
    return server.view(id)


def newest(server: Portable) -> str:
    return server.get(JOBS)["jobs"][0]["id"]
