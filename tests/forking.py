"""Runs python programs in processes forked off one that has imported what training needs: python forking.py SOCKET.

Importing takes seconds in each process that torch is used in. What such a process does from then on is its own: its
signals, its threads and processes, and how it ends.

A request is a line of JSON. One with `program` (a module or a file .py, then its arguments), `variables`, `stdout` and
`stderr` (files) starts a process in a session of its own; the answer is its number. One with `process` asks whether
that one ended; the answer is its return code, or null.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Forking:
    """Starts programs by this script."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        command = [sys.executable, "-P", __file__, str(its.fileno())]
        with its:
            self._server = subprocess.Popen(command, pass_fds=[its.fileno()])
        self._socket = ours
        self._lines = ours.makefile("rw", encoding="utf-8")

    def start(self, program: list[str], said: Path, variables: dict[str, str] | None = None) -> "Forked":
        """Starts a program, whose output goes to the files `said` with the suffixes .out and .err."""
        files = {"stdout": f"{said}.out", "stderr": f"{said}.err"}
        return Forked(self, self.ask({"program": program, "variables": variables or {}} | files), said)

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer to a request."""
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline())

    def close(self) -> None:
        """Ends the script, which has nothing to do any more."""
        self._lines.close()
        self._socket.close()
        assert self._server.wait(60) == 0


class Forked:
    """A program that `Forking` started: what tests need of `subprocess.Popen`."""

    def __init__(self, forking: Forking, pid: int, said: Path) -> None:
        self._forking = forking
        self.pid = pid
        self.returncode: int | None = None
        self._said = said

    def poll(self) -> int | None:
        """The return code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._forking.ask({"process": self.pid})
        return self.returncode

    def wait(self, seconds: float = 120) -> int:
        """The return code, once it has ended."""
        limit = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < limit, f"{self.pid} does not end"
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """Ends it with SIGKILL, where it runs yet."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def errors(self) -> str:
        """What it wrote to standard error."""
        return Path(f"{self._said}.err").read_text(encoding="utf-8")


def serve(lines: Any) -> list[str] | None:
    """Answers requests; returns None at their end, and in a new process the program to run."""
    for line in iter(lines.readline, ""):
        request = json.loads(line)
        if "process" in request:
            pid, status = os.waitpid(request["process"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            os.setsid()
            os.environ.update(request["variables"])
            for stream in ("stdout", "stderr"):
                with Path(request[stream]).open("wb") as file:
                    os.dup2(file.fileno(), getattr(sys, stream).fileno())
            return list(request["program"])
        lines.write(json.dumps(answer) + "\n")
        lines.flush()
    return None


def main() -> None:
    import torch.utils.tensorboard  # noqa: F401

    import apdraw_cli.commands.train  # noqa: F401
    import train.loop  # noqa: F401

    with socket.socket(fileno=int(sys.argv[1])) as ours, ours.makefile("rw", encoding="utf-8") as lines:
        sys.argv = serve(lines) or []
    if sys.argv:
        run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
        run(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
