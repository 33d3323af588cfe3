"""Photos of a bucket are drawn into a bucket: a real server of S3 on this machine, and the memory of this process."""

import functools
import json
import os
import pickle
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import Desk, FakeEngine, codes, engine_opener, fake_extractor, no_engine, save_photo
from s3_server import SECRET, forget_servers, s3_server

from apdraw_cli import app
from apdraw_cli.commands import convert as commands
from apdraw_cli.commands.convert import Plan
from apdraw_cli.conversion.gather import gather
from apdraw_cli.conversion.manifest import NAME, last_lines
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.sources import PassedOver
from apdraw_cli.conversion.storage import Storage, bucket, open_storage, place
from apdraw_cli.conversion.storage.bucket import BucketStorage
from engines.errors import OptionsError, UsageError


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server; everything that asks for one in the environment finds it."""
    with s3_server() as address:
        yield address


@pytest.fixture(params=["s3", "memory"])
def root(request: pytest.FixtureRequest) -> str:
    """An empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param == "s3":
        request.getfixturevalue("server")
        files().mkdir(name)
    return f"{request.param}://{name}"


def files() -> Any:
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)


def upload(folder: Path, address: str) -> None:
    storage = open_storage(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write({path.relative_to(folder).as_posix(): path.read_bytes()})


def content(address: str) -> dict[str, bytes]:
    storage = open_storage(address)
    return {name: storage.read(name, 10**7) for name, _ in storage.keys()}  # noqa: SIM118


def drawings(address: str) -> dict[str, bytes]:
    return {name: data for name, data in content(address).items() if name.endswith(".png")}


def told(storage: Storage) -> dict[str, dict[str, Any]]:
    varying = ("seconds", "root", "source_mtime_ns")
    lines = {name: line for name, (_, line) in last_lines(storage).items()}
    return {name: {key: line[key] for key in line if key not in varying} for name, line in lines.items()}


def fill(desk: Desk) -> None:
    for number in range(9):
        save_photo(desk.photos / ("", "a", "a/b")[number % 3] / f"p{number}.png", 100 + number)
    save_photo(desk.photos / "a" / "p1.jpg", 30)
    save_photo(desk.photos / "a" / "no-face.png", 0)
    (desk.photos / "empty.jpg").touch()
    (desk.photos / "notes.txt").write_text("mine")
    save_photo(desk.photos / "@eaDir" / "p.png", 3)


def test_what_is_written_can_be_listed_and_read(root: str) -> None:
    storage = open_storage(f"{root}/tree")
    storage.write({"a/q.png": b"12345", "a/p.png": b"123"})
    storage.write({"a/b/r.png": b"", "s.png": b"1"})
    assert (storage.listing("").files, storage.listing("").folders) == (["s.png"], ["a"])
    assert (storage.listing("a").files, storage.listing("a").folders) == (["p.png", "q.png"], ["b"])
    assert (storage.read("a/q.png", 9), storage.read("a/q.png", 2), storage.read("a/b/r.png", 9)) == (
        b"12345",
        b"12",
        b"",
    )
    assert [storage.version(name).size for name in ("a/q.png", "a/b/r.png", "s.png")] == [5, 0, 1]
    assert sorted(name for name, _ in storage.keys()) == ["a/b/r.png", "a/p.png", "a/q.png", "s.png"]  # noqa: SIM118
    with storage.open_own("a/p.png") as file:
        assert file.read() == b"123"
    assert [storage.exists(name) for name in ("a", "a/p.png", "p.png")] == [True, True, False]
    for call in (storage.version, storage.open_own, storage.remove):
        with pytest.raises(FileNotFoundError):
            call("p.png")
    storage.remove("a/p.png")
    assert not storage.exists("a/p.png")
    for name in ("../p.png", "/p.png", ""):
        with pytest.raises(OSError, match="leads out"):
            storage.write({name: b""})
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_a_version_is_size_time_and_etag(root: str) -> None:
    if root.startswith("memory"):
        pytest.skip("has no etags")
    versions = []
    for data in (b"123", b"321"):
        storage = BucketStorage(root)
        storage.write({"p.png": data})
        versions.append(storage.version("p.png"))
    assert versions[0].size == versions[1].size
    assert versions[0] != versions[1]


def test_a_bucket_to_a_bucket_is_drawn_as_folders_are(desk: Desk, root: str) -> None:
    fill(desk)
    here = desk.convert()
    upload(desk.photos, f"{root}/photos")
    said = {"sources": (f"{root}/photos",), "output": f"{root}/drawn/here"}
    there = desk.convert(**said)
    assert (there.done, there.no_face, there.failed, there.error) == (10, 1, 1, None)
    assert (there.other_files, codes(there)) == (here.other_files, codes(here))
    expected = {path.relative_to(desk.out).as_posix(): path.read_bytes() for path in desk.out.rglob("*.png")}
    assert drawings(f"{root}/drawn/here") == expected
    assert told(open_storage(f"{root}/drawn/here")) == told(open_storage(str(desk.out)))
    assert there.manifest == f"{root}/drawn/here/{NAME}"
    again = desk.convert(no_engine, **said)
    assert (again.skipped, again.remembered) == (10, 2)
    assert not [name for name in content(f"{root}/drawn") if ".lock" in name]
    assert SECRET.encode() not in b"".join(content(root).values())


def test_worker_processes_draw_a_bucket(desk: Desk, root: str) -> None:
    fill(desk)
    upload(desk.photos, root)
    result = desk.convert(sources=(root,), output=f"{root}/drawings", workers=1)
    assert (result.done, result.no_face, result.failed, result.error) == (10, 1, 1, None)
    assert len(drawings(f"{root}/drawings")) == 10


def test_changes_are_drawn_and_orphans_pruned(desk: Desk, root: str) -> None:
    fill(desk)
    upload(desk.photos, f"{root}/photos")
    said = {"sources": (f"{root}/photos",), "output": f"{root}/drawn"}
    desk.convert(**said)
    photos = open_storage(f"{root}/photos")
    save_photo(desk.photos / "p0.png", 77)
    photos.write({"p0.png": (desk.photos / "p0.png").read_bytes()})
    photos.remove("a/b/p2.png")
    open_storage(f"{root}/drawn").remove("p3.png")
    with Plan(desk.options(**said)) as plan:
        assert sorted(step.source.name for step in plan.steps() if step.settled is None) == ["p0.png", "p3.png"]
        assert list(plan.orphans()) == ["a/b/p2.png"]
    result = desk.convert(prune=True, **said)
    assert (result.done, result.skipped, result.pruned) == (2, 7, 1)
    assert "a/b/p2.png" not in drawings(f"{root}/drawn")


def test_what_is_not_ours_is_not_replaced(desk: Desk, root: str) -> None:
    save_photo(desk.photos / "p.png")
    storage = open_storage(f"{root}/drawn")
    storage.write({"p.png": b"mine"})
    result = desk.convert(output=f"{root}/drawn")
    assert codes(result) == {"p.png": "name_taken"}
    assert storage.read("p.png", 9) == b"mine"


def test_shards_draw_side_by_side_into_a_bucket(desk: Desk, root: str) -> None:
    fill(desk)
    upload(desk.photos, f"{root}/photos")
    said = {"sources": (f"{root}/photos",), "output": f"{root}/drawn"}
    results: list[Any] = []
    runs = [
        threading.Thread(target=lambda shard=f"{index}/3": results.append(desk.convert(shard=shard, **said)))
        for index in range(3)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sum(result.done for result in results) == 10
    assert desk.convert(no_engine, **said).skipped == 10
    assert open_storage(f"{root}/drawn").journals("apdraw-manifest") == [NAME]
    assert len(told(open_storage(f"{root}/drawn"))) == 12


def test_one_run_at_a_time_is_in_a_bucket(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"{root}/drawn")
    with storage.lock() as first, storage.lock() as second:
        assert (first, second) == (True, False)
    with storage.lock(Shard(0, 2)) as one, storage.lock(Shard(1, 2)) as other, storage.lock(Shard(0, 3)) as third:
        assert (one, other, third) == (True, True, False)
    monkeypatch.setattr(bucket, "STALE_SECONDS", -5.0)
    storage.write({".apdraw.lock": b"left behind"})
    with storage.lock() as taken_over:
        assert taken_over
    assert not storage.exists(".apdraw.lock")


def test_a_storage_without_conditional_writes_is_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = BucketStorage(root)
    written = storage._fs.pipe_file
    monkeypatch.setattr(storage._fs, "pipe_file", lambda path, data, mode="overwrite": written(path, data))
    with pytest.raises(OSError, match="knows no conditional writes"), storage.lock():
        pass
    assert not storage.exists(".apdraw.lock")


def test_a_journal_of_a_bucket_is_in_pieces(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PIECE_BYTES", 60)
    storage = open_storage(root)
    with pytest.raises(FileNotFoundError):
        next(storage.read_journal("journal.jsonl"))
    for begin in (0, 10):
        index = storage.journal_index("journal.jsonl")
        if begin:
            for place_, line in storage.read_journal("journal.jsonl"):
                index.add(line["name"], place_)
        journal = storage.open_journal("journal.jsonl")
        for number in range(begin, begin + 10):
            index.add(str(number), journal.append({"name": str(number), "é": "\udcff"}))
        journal.close()
        assert [index.find(str(number)) for number in range(begin + 10)] == [
            {"name": str(number), "é": "\udcff"} for number in range(begin + 10)
        ]
        index.close()
    pieces = [name for name, _ in storage.keys()]  # noqa: SIM118
    assert len(pieces) > 4
    assert [line["name"] for _, line in open_storage(root).read_journal("journal.jsonl")] == list(map(str, range(20)))


def test_many_keys_come_page_by_page(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"bucket-{uuid.uuid4().hex}"
    files().mkdir(name)
    storage = BucketStorage(f"s3://{name}/photos")
    for number in range(30):
        storage.put(f"{number % 2}/p{number:02}.jpg", b"1")
    listed = storage._fs.call_s3
    asked = []

    def paged(method: str, **arguments: Any) -> Any:
        asked.append(arguments)
        return listed(method, MaxKeys=4, **arguments)

    monkeypatch.setattr(storage._fs, "call_s3", paged)
    found = storage.keys()
    next(found)
    assert len(asked) == 1
    assert len([*found]) == 29
    asked.clear()
    for number in range(0, 30, 2):
        assert storage.version(f"0/p{number:02}.jpg").size == 1
    for missing in ("0/p03.jpg", "0/p29.jpg", "zzz"):
        with pytest.raises(FileNotFoundError):
            storage.version(missing)
    assert len(asked) < 10


def test_names_are_as_in_a_folder(desk: Desk, root: str) -> None:
    for photo in ("p.jpg", "p.png", "p.2.png", "p-1.png", "q/p.png", "q.png", "x/apdraw-manifest.jsonl", "x/y/p.png"):
        save_photo(desk.photos / photo) if "jsonl" not in photo else desk.photos.joinpath("x").mkdir()
    (desk.photos / "x" / "apdraw-manifest.jsonl").touch()
    upload(desk.photos, root)
    met = []
    for source in (str(desk.photos), root):
        passed = PassedOver()
        set_ = gather([source], output=desk.out)
        names = {photo.name: photo.drawing for photo in set_.photos(".png", True, passed)}
        met.append((names, passed, set_.count()))
    assert met[0] == met[1]
    excluding = gather([root], output=desk.out, exclude=["q", "*.jpg"])
    assert sorted(photo.name for photo in excluding.photos(".png", False)) == ["p-1.png", "p.2.png", "p.png", "q.png"]


def test_drawings_below_their_photos_are_no_photos(desk: Desk, root: str) -> None:
    fill(desk)
    upload(desk.photos, root)
    said = {"sources": (root,), "output": f"{root}/drawings"}
    assert desk.convert(**said).done == 10
    assert desk.convert(no_engine, **said).photos == 12


def test_a_model_comes_from_a_bucket_once(
    desk: Desk, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    save_photo(desk.photos / "p.png")
    open_storage(root).write({"models/m.onnx": b"a model"})
    for _ in range(2):
        result = desk.convert(model=f"{root}/models/m.onnx")
        assert result.error is None
        (copy,) = (tmp_path / "cache").rglob("*.onnx")
        assert copy.read_bytes() == b"a model"
        copy.chmod(0o444)
    assert result.skipped == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"sources": ("s3://nowhere-at-all/photos",), "output": "out"}, "there is no s3://nowhere-at-all/photos"),
        ({"sources": ("s3://a/b", "s3://a/c"), "output": "out"}, "name one URL"),
        ({"sources": ("s3://a/b",)}, "with --output"),
        ({"sources": ("s3://a/b",), "output": "s3://a/b"}, "is a source"),
    ],
    ids=["missing", "two", "no-output", "itself"],
)
def test_what_cannot_be_is_told_in_a_line(server: str, said: dict[str, Any], error: str) -> None:
    said["output"] = place(said["output"]) if "output" in said else None
    options = ConvertOptions(**said)
    with pytest.raises(UsageError, match=error):
        gather(options.sources, output=options.output)


def test_credentials_in_an_address_are_refused() -> None:
    with pytest.raises(UsageError, match="credentials do not belong") as caught:
        place("s3://key:secret@bucket/photos")
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="credentials do not belong"):
        ConvertOptions.of("s3://key:secret@bucket/photos")


def test_the_command_line_takes_urls(
    desk: Desk, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    save_photo(desk.photos / "a" / "p.png")
    upload(desk.photos, root)
    open_storage(f"{root}/models").write({"m.onnx": b"a model"})
    monkeypatch.setattr(commands, "check_model", lambda options: None)
    faked = functools.partial(commands.convert, open_engine=engine_opener(FakeEngine()), open_extractor=fake_extractor)
    monkeypatch.setattr(commands, "convert", faked)
    said = f"apdraw convert {root} -o {root}/drawings --model {root}/models/m.onnx --json"
    monkeypatch.setattr("sys.argv", said.split())
    with pytest.raises(SystemExit) as ended:
        app.main()
    result = json.loads(capsys.readouterr().out)
    assert (ended.value.code or 0, result["done"]) == (0, 1)
    assert (result["output"], result["manifest"]) == (f"{root}/drawings", f"{root}/drawings/{NAME}")
    assert list(drawings(f"{root}/drawings")) == ["a/p.png"]


@pytest.mark.parametrize("name", ["watch", "gallery"])
def test_what_is_for_folders_is_refused(name: str) -> None:
    with pytest.raises(OptionsError, match=f"--{name} is for folders"):
        ConvertOptions.of("s3://bucket/photos", output="s3://bucket/drawings", **{name: True})


def test_a_server_that_throttles_is_asked_again(desk: Desk, server: str) -> None:
    """A proxy in front of the server answers every third request with 503 SlowDown, and each takes 10 ms."""
    from botocore.retries.standard import ExponentialBackoff
    from s3_proxy import Proxy

    name = f"bucket-{uuid.uuid4().hex}"
    files().mkdir(name)
    fill(desk)
    upload(desk.photos, f"s3://{name}/photos")
    pause = ExponentialBackoff.delay_amount
    with Proxy(server, seconds=0.01, throttled=3) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.address)
        patch.setattr(ExponentialBackoff, "delay_amount", lambda *context: pause(*context) / 100)
        forget_servers()
        began = time.monotonic()
        result = desk.convert(FakeEngine(), sources=(f"s3://{name}/photos",), output=f"s3://{name}/drawn")
        took = time.monotonic() - began
    forget_servers()
    assert (result.done, result.no_face, result.failed, result.error) == (10, 1, 1, None)
    assert proxy.throttled_requests > 10
    assert len(drawings(f"s3://{name}/drawn")) == 10
    assert took < 20


def test_outcomes_of_a_bucket_are_pickled(root: str) -> None:
    open_storage(root).write({"p.png": b"1"})
    (source,) = gather([root], output=Path("/out")).photos(".png", False)
    assert pickle.loads(pickle.dumps(Outcome(source, "done"))).source == source
    assert json.dumps(source.root) == json.dumps(root)
    assert os.path.basename(source.path) == "p.png"  # noqa: PTH119
