"""The manifest keeps to its contract, survives a crash, and belongs to one conversion at a time."""

import contextlib
import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conversion_fakes import manifest_lines

from apdraw_cli.conversion.manifest import NAME, History, Manifest, Record
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.sources import Source
from apdraw_cli.conversion.storage import Storage, open_storage
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.doubts import PhotoWarning
from engines.errors import PhotoError, UnfitError, UsageError

KEYS = {
    "schema_version",
    "source",
    "root",
    "status",
    "outputs",
    "faces",
    "transform",
    "warnings",
    "error",
    "source_size",
    "source_mtime_ns",
    "model",
    "options",
    "engine",
    "seconds",
}


def below(folder: Path) -> Storage:
    return open_storage(str(folder))


def last(folder: Path, name: str) -> Record | None:
    """The last record of a photo, read anew."""
    with contextlib.closing(History(below(folder))) as history:
        return history.of(name)


def photo(name: str = "a/p.jpg") -> Source:
    return Source(f"/photos/{name}", "/photos", name, name.removesuffix(".jpg"), 123, 456)


def done(name: str = "a/p.jpg") -> Outcome:
    face = Face((1.234567, 2.0, 3.0, 4.0), 0.98765432, np.arange(10, dtype=np.float32).reshape(5, 2) / 3)
    output = name.removesuffix(".jpg") + ".png"
    transform = np.array([[0.5, 0, 1], [0, 0.12345678, -2]])
    return Outcome(
        photo(name),
        "done",
        "options",
        (output,),
        (face,),
        (transform,),
        warnings=(PhotoWarning("blurred", "the face is blurred"),),
        seconds={"read": 0.123456},
        engine="openvino",
        model_sha256="model",
    )


def test_a_line_holds_what_the_contract_names(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done())
        failure = PhotoError("truncated", "the file is cut off")
        manifest.append(Outcome(photo("b.jpg"), "failed", "options", error=failure))
    drawn, failed = manifest_lines(tmp_path)
    assert drawn.keys() == failed.keys() == KEYS
    assert drawn == {
        "schema_version": 1,
        "source": "a/p.jpg",
        "root": "/photos",
        "status": "done",
        "outputs": ["a/p.png"],
        "faces": [
            {
                "box": [1.23, 2.0, 3.0, 4.0],
                "score": 0.9877,
                "landmarks": [[0.0, 0.33], [0.67, 1.0], [1.33, 1.67], [2.0, 2.33], [2.67, 3.0]],
            }
        ],
        "transform": [[[0.5, 0.0, 1.0], [0.0, 0.123457, -2.0]]],
        "warnings": [{"code": "blurred", "message": "the face is blurred"}],
        "error": None,
        "source_size": 123,
        "source_mtime_ns": 456,
        "model": "model",
        "options": "options",
        "engine": "openvino",
        "seconds": {"read": 0.1235},
    }
    assert failed["error"] == {"code": "truncated", "message": "the file is cut off"}
    assert (failed["outputs"], failed["faces"], failed["transform"], failed["engine"]) == ([], [], [], None)


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_line_is_found_as_if_it_was_read_anew(tmp_path: Path, status: str) -> None:
    error = PhotoError("no_face", "no face was found")
    outcome = done() if status == "done" else Outcome(photo(), "failed", "recipe", error=error, model_sha256="model")
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(outcome)
        known = manifest.history.of("a/p.jpg")
        owner = manifest.history.owner("a/p.png")
    assert known == last(tmp_path, "a/p.jpg") is not None
    assert owner == (known if status == "done" else None)


def test_the_last_line_of_a_photo_counts(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(Outcome(photo(), "no_face", error=PhotoError("no_face", "none")))
        manifest.append(done())
        assert manifest.history.of("a/p.jpg") == last(tmp_path, "a/p.jpg")
    record = last(tmp_path, "a/p.jpg")
    assert record is not None
    assert (record.status, record.outputs) == ("done", ("a/p.png",))
    with contextlib.closing(History(below(tmp_path))) as history:
        assert history.owner("a/p.png") == record
    assert last(tmp_path, "other.jpg") is None


def test_a_long_manifest_takes_little_memory(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done("p-000000.jpg"))
    path = tmp_path / NAME
    (line,) = path.read_text(encoding="utf-8").splitlines()
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(line.replace("000000", f"{number:06}") + "\n" for number in range(5_000))
    tracemalloc.start()
    try:
        history = History(below(tmp_path))
        found = history.of("p-003456.jpg")
        assert found is not None
        assert history.owner("p-003456.png") == found
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        history.close()
    finally:
        tracemalloc.stop()


def test_no_room_for_temporary_files_is_one_line(tmp_path: Path) -> None:
    history = History(below(tmp_path))
    history.close()  # as good as a disk that is full
    with pytest.raises(UnfitError, match="make room") as caught:
        history.of("p.jpg")
    assert "\n" not in str(caught.value)


def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(UsageError, match="name another --output"):
        History(below(tmp_path))


def test_names_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done("p.jpg"))
    path = tmp_path / NAME
    line = json.loads(path.read_text(encoding="utf-8"))
    for wrong in ({"outputs": [["a"]]}, {"outputs": 3}, {"source": ["p.jpg"]}, {"status": 7}):
        path.write_text(json.dumps({**line, **wrong}) + "\n", encoding="utf-8")
        assert last(tmp_path, "p.jpg") is None


def test_a_line_cut_off_by_a_crash_is_passed_over_and_ended(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done("p.jpg"))
        manifest.append(done("q.jpg"))
    path = tmp_path / NAME
    whole = path.read_bytes()
    for cut in (1, 5, len(whole) // 2 - 3):
        path.write_bytes(whole[:-cut])
        with Manifest(below(tmp_path)) as manifest:
            assert manifest.history.of("p.jpg") is not None
            if cut > 1:
                assert manifest.history.of("q.jpg") is None
            manifest.append(done("r.jpg"))
        assert last(tmp_path, "p.jpg") is not None
        assert last(tmp_path, "r.jpg") is not None


@pytest.mark.parametrize("line", [b"[]", b"null", b'{"source": 3}', b"\xff\xfe", b"\0" * 4096, b""])
def test_lines_of_others_are_passed_over(tmp_path: Path, line: bytes) -> None:
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done("p.jpg"))
    path = tmp_path / NAME
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert last(tmp_path, "p.jpg") is not None


def test_names_that_are_no_text_or_not_ascii(tmp_path: Path) -> None:
    names = ["\udcff\udcfe.jpg", "Zoë/日本.jpg", 'new\nline".jpg']
    with Manifest(below(tmp_path)) as manifest:
        for name in names:
            manifest.append(done(name))
    assert [line["source"] for line in manifest_lines(tmp_path)] == names
    assert "Zoë/日本.jpg" in (tmp_path / NAME).read_text(encoding="utf-8")
    assert all(last(tmp_path, name) is not None for name in names)


def test_one_conversion_at_a_time(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)), pytest.raises(UsageError, match="another apdraw"):
        Manifest(below(tmp_path))
    with Manifest(below(tmp_path)):
        pass


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="name another --output"):
        Manifest(below(tmp_path / "file" / "out"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_told_and_leaves_no_half_line(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Manifest(below(tmp_path)) as manifest:
        manifest.append(done("p.jpg"))
        before = (tmp_path / NAME).read_bytes()
        for room in (0, 100):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
            try:
                with pytest.raises(UnfitError, match="make room"):
                    manifest.append(done("q.jpg"))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert (tmp_path / NAME).read_bytes() == before
            assert manifest.history.of("q.jpg") is None


def test_every_line_is_json_on_its_own(tmp_path: Path) -> None:
    with Manifest(below(tmp_path)) as manifest:
        for number in range(3):
            manifest.append(done(f"{number}.jpg"))
            lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
            assert len(lines) == number + 1
            assert all(line.endswith(b"\n") and json.loads(line) for line in lines)
