"""Windows programs under Wine: started with what they need, heard to their end, killed in time."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# Wine keeps these to itself: a Windows Python that reads them would look for our files.
_OURS = ("PYTHON", "PIP_", "VIRTUAL_ENV", "COMFYUI_")


class Wine:
    """A Windows of its own (a prefix) in a folder."""

    def __init__(self, prefix: Path):
        self.prefix = prefix
        self.system32 = prefix / "drive_c" / "windows" / "system32"

    @property
    def environment(self) -> dict[str, str]:
        """What Windows programs find set."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return kept | {
            "WINEPREFIX": str(self.prefix),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "winedbg.exe=d",  # a process that crashes waits for nobody
            "LC_ALL": "C.UTF-8",  # names with other letters than ASCII
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "KMP_AFFINITY": "disabled",  # OpenMP there asks for what Wine does not know
        }

    def start(self) -> None:
        """Start Windows, which stays until ``stop``: a program starts in 0.1 s then, not in 4."""
        self.prefix.mkdir(parents=True, exist_ok=True)
        for command in (["wineserver", "-p"], ["wine", "winecfg", "-v", "win10"]):
            # Services that start now live on and would keep a pipe open.
            subprocess.run(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=180,
                check=True,
            )

    def stop(self) -> None:
        """End every program and Windows itself."""
        subprocess.run(["wineserver", "-k"], env=self.environment, check=False)

    def popen(
        self, command: list[str], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; what it says comes by a pipe: Wine 8 cannot write into our files."""
        return subprocess.Popen(
            ["wine", *command],
            cwd=cwd,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(
        self,
        command: list[str],
        cwd: Path,
        say: Callable[[str], None],
        patience_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run a program to its end, each line to ``say``; its exit code.

        Raises TimeoutError when it takes longer, and ends it.
        """
        process = self.popen(command, cwd, environment)
        listener = listen(process, say)
        deadline = time.monotonic() + patience_s
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise TimeoutError(f"{command[-1][:80]}: not ready after {patience_s:.0f} s")
            time.sleep(0.05)
        listener.join(10)  # no longer: a program that it left behind may hold the pipe
        return process.returncode


def listen(process: subprocess.Popen[bytes], say: Callable[[str], None]) -> threading.Thread:
    """Give a program's lines to ``say``, in a thread that ends with them."""

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.decode("utf-8", errors="replace").rstrip())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
