"""Clusters and buckets on one machine: real processes of Dask, and a server of S3 (moto) on loopback.

    python -m benchmarks.buckets PHOTO ... [--sections cluster scheduler keys latency overhead]

- cluster: photos from a bucket to a bucket on a scheduler with two workers; then with one worker killed and the other
  held up. Both against the same photos from folder to folder.
- scheduler: killed in the middle; then the same command again, with a new one.
- keys: a bucket of 200,000 photos, for a minute; when the first drawing is there, and how memory goes. Then one of
  200,000 keys, a photo in every 500, to the end.
- latency: photos a second from folder to folder, from bucket to bucket, and with 50 ms added to each request.
- overhead: photos a second with `--cluster local` and without, in turn.

Everything runs on the cores of this machine: the server and the scheduler take their share of what is measured.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from apdraw_cli.conversion.storage import Storage, open_storage
from benchmarks.kernels import tell

KEYS: Final = 200_000

PHOTO_EVERY: Final = 500

DELAY_SECONDS: Final = 0.05

SERVER: Final = """
import bisect, sys, threading
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer

theirs = S3Backend.list_objects_v2

def list_objects_v2(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys):
    if delimiter and max_keys > 1:
        return theirs(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
    names, prefix = sorted(bucket.keys), prefix or ""
    after = self._pagination_tokens.get(continuation_token) if continuation_token else start_after
    first = bisect.bisect_left(names, prefix) if after is None else bisect.bisect_right(names, after)
    page = [name for name in names[first : first + max_keys + 1] if name.startswith(prefix)]
    return self._truncate_result([bucket.keys[name] for name in page], max_keys)

S3Backend.list_objects_v2 = list_objects_v2
address, count, every, *photos = sys.argv[1:]
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
bucket = backend.create_bucket("studio", "us-east-1")
contents = [open(photo, "rb").read() for photo in photos]
stored = [backend.put_object("studio", f"stored/{number}", content) for number, content in enumerate(contents)]
other = backend.put_object("studio", "stored/other", b"no photo")
for number in range(int(count)):
    photo = number % int(every) == 0
    key = object.__new__(type(other))
    key.__dict__ |= (stored[number // int(every) % len(stored)] if photo else other).__dict__
    key.name = f"photos/{number:06d}.{'jpg' if photo else 'txt'}"
    bucket.keys[key.name] = key
host, port = server.get_host_and_port()
with open(address, "w") as file:
    file.write(f"http://{host}:{port}")
threading.Event().wait()
"""
"""A server with a bucket of `count` keys, of which each `every`-th is a photo; tells its address in a file.

A page of keys is cut out of the sorted names: moto itself looks at all keys for each page, which takes it a second.
"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes:
        code: its exit code.
        seconds: from start to end.
        told: what `--json` printed; empty if it printed none.
        errors: what it said besides.
        memory: the most that it and its children had at once, in MB, looked at four times a second.
    """

    code: int
    seconds: float
    told: dict[str, Any]
    errors: str
    memory: float


def run(*arguments: str, meanwhile: Callable[[subprocess.Popen[bytes]], None] = lambda process: None) -> Ran:
    """Runs `apdraw` with these arguments.

    Args:
        arguments: of the command line.
        meanwhile: is called again and again with the process while it runs.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "apdraw_cli", *arguments], stdout=output, stderr=errors, start_new_session=True
        )
        most = 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                most = max(most, sum(each.memory_info().rss for each in family) / 1e6)
            meanwhile(process)
            time.sleep(0.25)
        seconds = time.monotonic() - start
        for file in (output, errors):
            file.seek(0)
        said = output.read()
        return Ran(process.returncode, seconds, json.loads(said) if said else {}, errors.read().decode(), most)


@contextlib.contextmanager
def bucket_server(scratch: Path, photos: Sequence[Path] = (), keys: int = 0, every: int = 1) -> Iterator[str]:
    """A server of S3 with a bucket `studio`, as a process; the environment tells of it."""
    address = scratch / "address"
    address.unlink(missing_ok=True)
    said = (str(address), str(keys), str(every), *(str(photo) for photo in photos))
    process = subprocess.Popen([sys.executable, "-c", SERVER, *said], stderr=subprocess.DEVNULL)
    try:
        while not address.exists() or not address.read_text():
            if process.poll() is not None:
                raise SystemExit("the server of S3 did not start")
            time.sleep(0.1)
        use_server(address.read_text())
        yield address.read_text()
    finally:
        process.kill()
        process.wait()


def use_server(address: str) -> None:
    """Lets this process, and what it starts, take a server for S3."""
    import s3fs

    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3fs.S3FileSystem.clear_instance_cache()


class Delay:
    """A proxy that hands on what a client says after a while, as a long way would; a context.

    Args:
        server: its URL.
        seconds: that pass before each request arrives.
    """

    def __init__(self, server: str, seconds: float) -> None:
        target = urlsplit(server)
        self._host, self._port, self._seconds = target.hostname, target.port, seconds
        self._loop = asyncio.new_event_loop()
        self.address = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)

        async def hand_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    await asyncio.sleep(seconds)
                    sink.write(data)
                    await sink.drain()
            with contextlib.suppress(OSError):
                sink.close()

        await asyncio.gather(hand_on(reader, back, self._seconds), hand_on(there, writer, 0.0))

    def __enter__(self) -> "Delay":
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


class Cluster:
    """A scheduler and two workers of Dask, as processes; a context."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.file = scratch / "scheduler.json"

    def __enter__(self) -> "Cluster":
        self.file.unlink(missing_ok=True)
        self.scheduler = self._start("scheduler", "--scheduler-file", str(self.file), "--port", "0")
        while not self.file.exists():
            time.sleep(0.1)
        said = ("--scheduler-file", str(self.file), "--nthreads", "2", "--no-nanny")
        self.workers = [self._start("worker", *said, "--local-directory", str(self._scratch)) for _ in range(2)]
        return self

    def _start(self, *said: str) -> subprocess.Popen[bytes]:
        address = "--dashboard-address" if said[0] == "scheduler" else "--no-dashboard"
        more = (address, ":0") if said[0] == "scheduler" else (address,)
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *said, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __exit__(self, *error: object) -> None:
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def drawings(storage: Storage) -> dict[str, bytes]:
    """The PNG files in a bucket."""
    return {name: storage.read(name, 10**9) for name, _ in storage.keys() if name.endswith(".png")}  # noqa: SIM118


def times_noted(storage: Storage) -> Counter[str]:
    """How often each photo is in the manifest of a bucket."""
    lines = [
        line
        for name, _ in sorted(storage.keys())
        if name.startswith("apdraw-manifest.jsonl/")
        for line in storage.read(name, 10**9).splitlines()
    ]
    return Counter(json.loads(line)["source"] for line in lines if b'"source"' in line)


def upload(photos: Sequence[Path], storage: Storage) -> None:
    """Writes photos into a storage under their own names."""
    storage.write({photo.name: photo.read_bytes() for photo in photos})


def cluster(photos: Sequence[Path], scratch: Path) -> None:
    """See the module."""
    folder = copied(photos, scratch / "photos")
    local = run("convert", str(folder), "-o", str(scratch / "here"), "--json")
    here = {path.name: path.read_bytes() for path in (scratch / "here").glob("*.png")}
    with bucket_server(scratch):
        upload(photos, open_storage("s3://studio/photos"))
        for name, harm in (("unharmed", False), ("harmed", True)):
            out = open_storage(f"s3://studio/{name}")
            with Cluster(scratch) as dask:
                ran = run(
                    *("convert", "s3://studio/photos", "-o", f"s3://studio/{name}", "--json"),
                    *("--cluster", str(dask.file)),
                    meanwhile=harming(dask, out, len(photos)) if harm else lambda process: None,
                )
            there = drawings(out)
            most = max(times_noted(out).values())
            tell(
                f"cluster, {name}: exit {ran.code}, {ran.seconds:.0f} s (folder to folder {local.seconds:.0f} s), "
                f"{len(there)} of {len(here)} drawings, {sum(there.get(key) == here[key] for key in here)} of the "
                f"same bytes, {len(times_noted(out))} photos noted, each {most} times at most"
            )


def harming(dask: Cluster, out: Storage, photos: int) -> Callable[[subprocess.Popen[bytes]], None]:
    """Kills a worker when a quarter is drawn; holds up the other half of the time until three quarters are."""
    state = {"killed": False, "stopped": False}

    def meanwhile(process: subprocess.Popen[bytes]) -> None:
        count = sum(name.endswith(".png") for name, _ in out.keys())  # noqa: SIM118
        if count > photos // 4 and not state["killed"]:
            dask.workers[0].kill()
            state["killed"] = True
            tell(f"  a worker was killed after {count} drawings")
        if state["killed"]:
            stop = count < 3 * photos // 4 and not state["stopped"]
            dask.workers[1].send_signal(signal.SIGSTOP if stop else signal.SIGCONT)
            state["stopped"] = stop

    return meanwhile


def scheduler(photos: Sequence[Path], scratch: Path) -> None:
    """See the module."""
    folder = copied(photos, scratch / "photos")
    out = scratch / "scheduler"
    said = ("convert", str(folder), "-o", str(out), "--json", "--cluster", str(scratch / "scheduler.json"))
    with Cluster(scratch) as dask:

        def kill(process: subprocess.Popen[bytes]) -> None:
            if len(list(out.glob("*.png"))) > len(photos) // 3:
                dask.scheduler.kill()

        first = run(*said, meanwhile=kill)
    with Cluster(scratch):
        second = run(*said)
    lines = [json.loads(line) for line in (out / "apdraw-manifest.jsonl").read_text().splitlines()]
    noted = Counter(line["source"] for line in lines if "source" in line)
    tell(
        f"scheduler: killed, exit {first.code}, it said {first.told.get('error') or first.errors.strip()!r}; "
        f"then exit {second.code}, {len(list(out.glob('*.png')))} drawings, {len(noted)} photos noted, each "
        f"{max(noted.values())} times at most"
    )


def keys(photos: Sequence[Path], scratch: Path) -> None:
    """See the module."""
    for name, every in (("all photos, a minute of them", 1), ("a photo in every 500", PHOTO_EVERY)):
        with bucket_server(scratch, photos, KEYS, every):
            out = open_storage("s3://studio/drawings")
            seen: list[float] = []
            sizes: list[tuple[float, float]] = []
            start = time.monotonic()

            def look(process: subprocess.Popen[bytes]) -> None:
                now = time.monotonic() - start  # noqa: B023
                if not seen and any(key.endswith(".png") for key, _ in out.keys()):  # noqa: B023, SIM118
                    seen.append(now)  # noqa: B023
                if seen and now > seen[0] + 60 and every == 1:  # noqa: B023
                    process.send_signal(signal.SIGINT)
                with contextlib.suppress(psutil.NoSuchProcess):
                    sizes.append((now, psutil.Process(process.pid).memory_info().rss / 1e6))  # noqa: B023

            ran = run("convert", "s3://studio/photos", "-o", "s3://studio/drawings", "--json", meanwhile=look)
        later = [size for now, size in sizes if now > seen[0] + 10]
        tell(
            f"keys, {name}: the first drawing was seen after {seen[0]:.1f} s; exit {ran.code} after "
            f"{ran.seconds:.0f} s, {ran.told.get('done')} drawn; memory of the command {min(later):.0f} to "
            f"{max(later):.0f} MB from ten seconds later on, at the end {sizes[-1][1]:.0f}; with its workers "
            f"{ran.memory:.0f} MB at most"
        )


def latency(photos: Sequence[Path], scratch: Path, rounds: int = 3) -> None:
    """See the module."""
    folder = copied(photos, scratch / "photos")
    found: dict[str, list[float]] = {"folders": [], "bucket": [], "bucket, 50 ms": []}
    with bucket_server(scratch) as server:
        upload(photos, open_storage("s3://studio/photos"))
        for number in range(rounds):
            for name in found:
                near = f"{scratch / 'latency'}{number}"
                there = ("s3://studio/photos", f"s3://studio/{name.replace(', ', '')}{number}".replace(" ", ""))
                source, out = (str(folder), near) if name == "folders" else there
                with Delay(server, DELAY_SECONDS) if "50" in name else contextlib.nullcontext() as proxy:
                    use_server(server if proxy is None else proxy.address)
                    before = others_seconds()
                    ran = run("convert", source, "-o", out, "--json")
                    others = others_seconds() - before
                use_server(server)
                found[name].append(ran.told["photos_per_second"])
                tell(
                    f"  {name}: {found[name][-1]:.1f} photos/s, exit {ran.code}, {ran.seconds:.0f} s; server and proxy "
                    f"took {others:.1f} s of a core"
                )
    report("latency", found, "folders")


def others_seconds() -> float:
    """Processor time of this process, where the proxy is, and of those that it has started and that live."""
    return sum(
        sum(process.cpu_times()[:2]) for process in (psutil.Process(), *psutil.Process().children(recursive=True))
    )


def overhead(photos: Sequence[Path], scratch: Path, rounds: int = 3) -> None:
    """See the module."""
    folder = copied(photos, scratch / "photos")
    found: dict[str, list[float]] = {"this process": [], "--cluster local": []}
    for number, name in itertools.product(range(rounds), found):
        said = ("--cluster", "local") if name == "--cluster local" else ()
        ran = run("convert", str(folder), "-o", str(scratch / f"{len(said)}-{number}"), "--json", *said)
        found[name].append(len(photos) / ran.seconds)
        tell(
            f"  {name}: {found[name][-1]:.1f} photos/s from start to end, {ran.told['photos_per_second']:.1f} as told, "
            f"exit {ran.code}, {ran.memory:.0f} MB"
        )
    report("overhead", found, "this process")


def report(section: str, found: dict[str, list[float]], base: str) -> None:
    """Prints the middle of each row, and its share of the first."""
    middle = {name: statistics.median(values) for name, values in found.items()}
    for name, value in middle.items():
        tell(f"{section}, {name}: {value:.1f} photos/s, {value / middle[base]:.0%}")


def copied(photos: Sequence[Path], folder: Path) -> Path:
    """A folder of these photos."""
    folder.mkdir(exist_ok=True)
    for photo in photos:
        if not (folder / photo.name).exists():
            shutil.copy(photo, folder)
    return folder


SECTIONS: Final = {
    "cluster": cluster,
    "scheduler": scheduler,
    "keys": keys,
    "latency": latency,
    "overhead": overhead,
}


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.buckets")
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    parser.add_argument("--photos", type=int, default=300, dest="count", help="take so many of them")
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    given = parser.parse_args()
    for name in given.sections:
        with tempfile.TemporaryDirectory(prefix="apdraw-buckets-", ignore_cleanup_errors=True) as scratch:
            SECTIONS[name](given.photos[: given.count], Path(scratch))


if __name__ == "__main__":
    main()
