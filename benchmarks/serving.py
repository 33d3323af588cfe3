"""How many photos a second `apdraw serve` draws on this machine, against `apdraw convert`, of the same photos.

    python -m benchmarks.serving PHOTOS [--count 60] [--clients 8] [--rounds 3] [--wrong 10]

The two take turns in each round, so that what else the machine does slows both: a conversion of COUNT copies of the
photos, from the moment its engine is open, and as many requests by CLIENTS clients to a server that is warm. Among the
requests are some WRONG ones, which must be answered with 4xx and one line; every photo must come back as a drawing,
the same bytes as the conversion's.
"""

# ruff: noqa: T201

import argparse
import http.client
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Final

SEED_WAIT: Final = 300.0

WRONG: Final = (b"Dear diary", b"", b"\xff\xd8\xff\xe0" + bytes(200), b"\x89PNG\r\n\x1a\n")


def converted(folder: Path, drawings: Path) -> float:
    """Photos a second of a conversion, since its engine was open."""
    command = (
        sys.executable,
        "-m",
        "apdraw_cli",
        "convert",
        str(folder),
        "-o",
        str(drawings),
        "--json",
        "--workers",
        "1",
    )
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(result.stdout)
    if told["error"] is not None or not told["done"]:
        raise SystemExit(result.stderr or told)
    return float(told["photos_per_second"])


class Server:
    """A server of its own, warm."""

    def __init__(self) -> None:
        command = (sys.executable, "-m", "apdraw_cli", "serve", "--port", "0", "--workers", "1")
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        found = re.search(r"http://([\d.]+):(\d+)", self._process.stderr.readline())
        assert found is not None
        self.host, self.port = found[1], int(found[2])

    def post(self, connection: http.client.HTTPConnection, data: bytes) -> tuple[int, bytes]:
        """Asks for a drawing; gives the status and what came back."""
        connection.request("POST", "/draw", data)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of a client."""
        return http.client.HTTPConnection(self.host, self.port, timeout=SEED_WAIT)

    def end(self) -> None:
        """Ends it as a service manager does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(SEED_WAIT)


def served(server: Server, photos: dict[str, bytes], wrong: int, clients: int) -> tuple[float, dict[str, bytes], int]:
    """Photos a second of a server, the drawings, and how many wrong requests were answered as they should be."""
    waiting: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    step = max(1, len(photos) // max(1, wrong))
    for number, (name, data) in enumerate(photos.items()):
        waiting.put((name, data))
        if wrong and number % step == 0:
            waiting.put(("", WRONG[number // step % len(WRONG)]))
    drawings: dict[str, bytes] = {}
    refused: list[int] = []

    def client() -> None:
        connection = server.connect()
        while True:
            try:
                name, data = waiting.get_nowait()
            except queue.Empty:
                return
            status, body = server.post(connection, data)
            if name and status == 200:
                drawings[name] = body
            elif not name and 400 <= status < 500 and body.count(b"\n") == 1 and "error" in json.loads(body):
                refused.append(status)
            else:
                print(f"unexpected: {name!r} {status} {body[:200]!r}")

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(drawings) / (time.perf_counter() - start), drawings, len(refused)


def main() -> None:
    """Measures, and prints a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wrong", type=int, default=10)
    arguments = parser.parse_args()
    found = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "photos"
        folder.mkdir()
        for number in range(arguments.count):
            source = found[number % len(found)]
            shutil.copy(source, folder / f"{number:05}{source.suffix}")
        photos = {path.stem: path.read_bytes() for path in sorted(folder.iterdir())}
        server = Server()
        try:
            connection = server.connect()
            for data in list(photos.values())[:4]:
                server.post(connection, data)
            connection.close()
            ratios = []
            for number in range(arguments.rounds):
                drawings = Path(made) / f"drawings-{number}"
                by_convert = converted(folder, drawings)
                by_serve, answered, refused = served(server, photos, arguments.wrong, arguments.clients)
                same = sum((drawings / f"{name}.png").read_bytes() == data for name, data in answered.items())
                ratios.append(by_serve / by_convert)
                print(
                    f"convert {by_convert:.2f}, serve {by_serve:.2f} photos a second: {ratios[-1]:.0%}; "
                    f"{len(answered)} of {len(photos)} drawn, {same} the same bytes, {refused} wrong ones refused; "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            print(f"median {median(ratios):.0%}")
        finally:
            server.end()


if __name__ == "__main__":
    main()
