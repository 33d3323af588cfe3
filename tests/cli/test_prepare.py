"""`apdraw prepare`: what becomes of photos and drawings, what is told of it, and how a run goes on."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from apdraw_cli.app import app
from apdraw_cli.commands.prepare import _what_decides, package_sha256, prepare
from apdraw_cli.conversion.decode import decode, read
from apdraw_cli.datasets.options import PairOptions, PrepareOptions, PrepareResult
from apdraw_cli.faces.align import apply, similarity
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from apdraw_cli.folder_lock import FolderLock
from engines.errors import DatasetError, UnfitError, UsageError
from engines.landmarks_file import read_landmarks
from engines.portrait import SIZE
from train.artist.drawing import Drawing
from train.artist.mesh import IRIS_CENTRES, POINTS
from train.data.pairs import PortraitPairs
from train.npr import drawing as npr
from train.npr import quality

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FOLDERS = ("photos", "drawings", "landmarks", "masks", "labels", "lines")


def interrupt(done: int, total: int) -> None:
    if done:
        raise KeyboardInterrupt


def run(
    photos: Path, dataset: Path, progress: Callable[[int, int], None] | None = None, **options: Any
) -> PrepareResult:
    """In this process, by the quicker way where drawings are to be made."""
    pairs = PairOptions(**{"workers": 0, "npr": None if "drawings" in options else "filter", **options})
    return prepare(PrepareOptions(photos, dataset, pairs), progress or (lambda done, total: None))


def index(dataset: Path) -> dict[str, dict[str, Any]]:
    lines = (dataset / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["source"] or line["drawing"] or line["name"]: line for line in map(json.loads, lines)}


def times(dataset: Path) -> dict[str, int]:
    """When each portrait's file was written."""
    return {str(path): path.stat().st_mtime_ns for folder in FOLDERS for path in (dataset / folder).glob("*")}


@pytest.fixture
def quick_npr(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not look at the drawings: a threshold."""

    def draw(photo: Any, labels: Any, landmarks: Any) -> npr.NprDrawing:
        grey = photo.mean(axis=2)
        return npr.NprDrawing(np.where(grey < 90, 0, 255).astype(np.uint8), np.full(grey.shape, 128, np.uint8))

    monkeypatch.setattr(npr, "draw", draw)
    monkeypatch.setattr(quality, "quality", lambda drawing, labels, landmarks: 1.0)


def make_photos(parent: Path) -> Path:
    folder = parent / "photos"
    folder.mkdir()
    for sample in ("astronaut.png", "grace_hopper.jpg"):
        (folder / sample).write_bytes((SAMPLES / sample).read_bytes())
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "index.csv").write_text("file,split\nastronaut.png,train\ngrace_hopper.jpg,val\n", encoding="utf-8")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareResult]:
    """A data set of the photos, drawn by the filter, and what was told of it."""
    folder = tmp_path_factory.mktemp("filtered")
    photos, dataset = make_photos(folder), folder / "dataset"
    return dataset, run(photos, dataset, index=photos / "index.csv")


@pytest.fixture(scope="module")
def full_drawings(filtered: tuple[Path, PrepareResult]) -> dict[str, Any]:
    """Drawings of the two samples, as an artist draws over the photos."""
    dataset, drawings = filtered[0], {}
    for sample in ("astronaut.png", "grace_hopper.jpg"):
        photo = decode(read(SAMPLES / sample))
        transform = similarity(TinyRetinaFace().detect(photo)[0].landmarks)
        aligned = cv2.imread(str(dataset / "drawings" / f"{Path(sample).stem}.png"), cv2.IMREAD_GRAYSCALE)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        drawings[sample] = aligned, cv2.warpAffine(aligned, transform, photo.shape[1::-1], flags=how, borderValue=255)
    return drawings


@pytest.fixture
def drawings(tmp_path: Path, full_drawings: dict[str, Any]) -> Path:
    """One at half the size, one cropped."""
    folder = tmp_path / "artist"
    folder.mkdir()
    full = full_drawings["astronaut.png"][1]
    cv2.imwrite(str(folder / "Astronaut.jpg"), cv2.resize(full, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "grace_hopper.png"), full_drawings["grace_hopper.jpg"][1][20:, 30:-10])
    return folder


def test_photos_become_pairs(filtered: tuple[Path, PrepareResult]) -> None:
    dataset, result = filtered
    assert result.prepared == 2
    assert result.reasons == {"no face": 1, "not a picture in a format that apdraw reads": 1}
    assert {name: line["left_out"] is None for name, line in index(dataset).items()} == {
        "astronaut.png": True,
        "broken.jpg": False,
        "grace_hopper.jpg": True,
        "nobody.png": False,
    }
    pair = PortraitPairs(dataset, "train")[0]
    assert pair.drawing.shape == (1, SIZE, SIZE)
    outside = pair.mask == 0
    assert pair.drawing[outside].mean() > 0.9  # white
    assert 0.03 < (pair.drawing < 0).float().mean() < 0.5
    assert PortraitPairs(dataset, "val").names == ["grace_hopper"]
    lines = cv2.imread(str(dataset / "lines" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(lines)) == {0, 128, 255}
    assert not list(dataset.glob(".*"))


def test_an_artists_drawings_come_into_the_same_frame(
    photos: Path, drawings: Path, full_drawings: dict[str, Any], tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    result = run(photos, dataset, drawings=drawings)
    assert (result.prepared, result.registered) == (2, 1)
    assert result.reasons == {"no drawing has its name": 2}
    lines = index(dataset)
    assert (lines["astronaut.png"]["drawing"], lines["astronaut.png"]["registered"]) == ("Astronaut.jpg", False)
    assert lines["grace_hopper.jpg"]["registered"]
    assert not (dataset / "lines").exists()
    for sample, (aligned, _) in full_drawings.items():
        there = cv2.imread(str(dataset / "drawings" / f"{Path(sample).stem}.png"), cv2.IMREAD_GRAYSCALE)
        blurred = [cv2.GaussianBlur(picture, (0, 0), 2)[100:400, 100:400].ravel() for picture in (there, aligned)]
        assert np.corrcoef(*blurred)[0, 1] > 0.96  # shifted by 4 pixels: 0.91 and 0.94
    with Pillow.open(result.contact_sheet or "") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > sheet.height


def test_drawings_that_fit_no_photo_are_left_out_with_a_reason(photos: Path, drawings: Path, tmp_path: Path) -> None:
    (photos / "Ann.jpg").write_bytes((SAMPLES / "grace_hopper.jpg").read_bytes())
    (photos / "zoe.jpg").write_bytes((SAMPLES / "grace_hopper.jpg").read_bytes())
    (photos / "broken.jpg").unlink()
    (drawings / "ann.png").write_bytes((drawings / "Astronaut.jpg").read_bytes())
    (drawings / "alone.png").write_bytes((drawings / "Astronaut.jpg").read_bytes())
    (drawings / "grace_hopper.webp").write_bytes((drawings / "grace_hopper.png").read_bytes())
    (drawings / "zoe.png").write_bytes(b"no picture")
    (drawings / "nobody.tif").write_bytes((drawings / "grace_hopper.png").read_bytes())
    dataset = tmp_path / "dataset"
    result = run(photos, dataset, drawings=drawings)
    told = {each.name: (each.reason, each.detail) for each in result.left_out}
    reason, detail = told.pop("Ann.jpg")
    assert reason == "its drawing does not match it"
    assert detail.endswith("under 0.45")
    assert told == {
        "alone.png": ("a drawing without a photo", ""),
        "grace_hopper.jpg": ("several drawings have its name", "grace_hopper.png, grace_hopper.webp"),
        "nobody.png": ("no face", ""),
        "zoe.jpg": ("its drawing cannot be read: not a picture in a format that apdraw reads", ""),
    }
    assert {path.stem for path in (dataset / "drawings").iterdir()} == {"astronaut"}
    assert run(photos, dataset, drawings=drawings, min_agreement=-1).prepared == 2


def test_names_are_paired_however_their_accents_are_stored(tmp_path: Path, drawings: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, form in (("photos", "NFC"), ("artist", "NFD")):
        sample = SAMPLES / "astronaut.png" if name == "photos" else drawings / "Astronaut.jpg"
        (tmp_path / name / unicodedata.normalize(form, "zoë.png")).write_bytes(sample.read_bytes())  # type: ignore[arg-type]
    result = run(photos, tmp_path / "dataset", drawings=drawings)
    assert result.prepared == 1
    assert result.contact_sheet is not None


def test_photos_of_one_name_do_not_meet(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    (photos / "astronaut.webp").write_bytes((photos / "nobody.png").read_bytes())
    (photos / "grace_HOPPER.png").write_bytes((photos / "astronaut.png").read_bytes())
    dataset = tmp_path / "dataset"
    result = run(photos, dataset)
    assert result.reasons["another photo has this name"] == 2
    assert result.prepared == 2
    assert {source: line["name"] for source, line in index(dataset).items()} == {
        "astronaut.png": "astronaut",
        "astronaut.webp": "astronaut.webp",
        "broken.jpg": "broken",
        "grace_HOPPER.png": "grace_HOPPER",
        "grace_hopper.jpg": "grace_hopper.jpg",
        "nobody.png": "nobody",
    }
    assert sorted(path.name for path in (dataset / "photos").iterdir()) == ["astronaut.png", "grace_HOPPER.png"]


def test_a_second_run_does_only_what_is_missing_or_has_changed(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    first = run(photos, dataset)
    before, sheet = times(dataset), (dataset / "contact-sheet.jpg").read_bytes()
    asked: list[tuple[int, int]] = []
    again = run(photos, dataset, lambda *step: asked.append(step))
    assert asked == []
    assert (again.prepared, again.kept, again.left_out) == (2, 2, first.left_out)
    assert times(dataset) == before
    assert (dataset / "contact-sheet.jpg").read_bytes() == sheet

    (dataset / "masks" / "astronaut.png").unlink()
    (photos / "broken.jpg").write_bytes((photos / "grace_hopper.jpg").read_bytes())
    (photos / "grace_hopper.jpg").unlink()
    changed = run(photos, dataset, lambda *step: asked.append(step))
    assert asked[-1] == (2, 2)
    assert (changed.prepared, changed.kept) == (2, 0)
    assert list(dataset.rglob("grace_hopper.*")) == []
    assert len(list(dataset.rglob("astronaut.*"))) == len(list(dataset.rglob("broken.*"))) == 6

    emptied = dataset / "labels" / "astronaut.png"
    emptied.write_bytes(b"")  # as a machine that lost power leaves it
    assert run(photos, dataset).kept == 1
    assert emptied.stat().st_size


def test_a_change_of_any_module_that_draws_renews_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pens"
    (package / "nibs").mkdir(parents=True)
    modules = [package / name for name in ("__init__.py", "ink.py", "nibs/__init__.py", "nibs/steel.py")]
    for module in modules:
        module.write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {package_sha256("pens")}
    for module in modules:
        module.write_text("WIDTH = 2")
        found.add(package_sha256("pens"))
    assert len(found) == 5
    options = PrepareOptions(tmp_path, tmp_path, PairOptions(npr="artist"))
    assert package_sha256("train.npr") in _what_decides(options)
    assert package_sha256("train.artist") in _what_decides(options)
    by_filter = replace(options, pairs=PairOptions(npr="filter"))
    assert package_sha256("train.artist") not in _what_decides(by_filter)
    (tmp_path / "meshes.npz").write_bytes(b"others")
    along_others = replace(options, pairs=PairOptions(npr="artist", meshes=tmp_path / "meshes.npz"))
    assert _what_decides(along_others) != _what_decides(options)


def test_a_photo_now_left_out_leaves_no_files(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    nobody = (photos / "nobody.png").read_bytes()
    (photos / "nobody.png").write_bytes((photos / "astronaut.png").read_bytes())
    run(photos, dataset)
    assert len(list(dataset.rglob("nobody.*"))) == 6
    (photos / "nobody.png").write_bytes(nobody)
    run(photos, dataset)
    assert list(dataset.rglob("nobody.*")) == []
    assert len(list(dataset.rglob("astronaut.*"))) == 6


def test_a_two_tone_drawing_that_came_out_badly_is_left_out(
    quick_npr: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = iter([0.2, 0.7])
    monkeypatch.setattr(quality, "quality", lambda drawing, labels, landmarks: next(qualities))
    dataset = tmp_path / "dataset"
    result = run(photos, dataset)
    assert result.prepared == 1
    assert result.reasons["its two-tone drawing came out badly"] == 1
    assert sorted(path.stem for path in (dataset / "drawings").iterdir()) == ["astronaut", "grace_hopper"]


def test_the_procedural_artist_draws_along_a_mesh_it_finds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "grace_hopper.jpg").unlink()
    dataset = tmp_path / "dataset"
    assert run(photos, dataset, npr="artist").prepared == 1
    mesh = read_landmarks(dataset / "meshes" / "astronaut.txt", POINTS)
    landmarks = read_landmarks(dataset / "landmarks" / "astronaut.txt")
    assert np.abs(mesh[list(IRIS_CENTRES)] - landmarks[:2]).max() < 6
    pair = PortraitPairs(dataset, "train" if index(dataset)["astronaut.png"]["split"] == "train" else "val")[0]
    assert 0.02 < (pair.drawing < 0).float().mean() < 0.4
    x, y = (round(float(value)) for value in mesh[IRIS_CENTRES[0]])
    assert (pair.drawing[0, y - 12 : y + 13, x - 25 : x + 26] < 0).float().mean() > 0.08  # an eye is drawn there
    lines = cv2.imread(str(dataset / "lines" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert {0, 128} <= set(np.unique(lines))
    assert run(photos, dataset, npr="artist").kept == 1
    (dataset / "meshes" / "astronaut.txt").write_text("my notes")
    (photos / "astronaut.png").touch()
    white = Drawing(np.full((SIZE, SIZE), 255, np.uint8), {"eyes": 1.0, "nose": 1.0, "mouth": 1.0})
    monkeypatch.setattr(
        "apdraw_cli.datasets.portraits.draw_portrait", lambda *arguments: white
    )  # another takes seconds
    with pytest.raises(UsageError, match=r"astronaut\.txt is in the way"):
        run(photos, dataset, npr="artist")


@pytest.fixture
def quick_artist(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Draws nothing; what it was given."""
    given: list[Any] = []

    def draw(*arguments: Any) -> Drawing:
        given.append(arguments)
        return Drawing(np.full((SIZE, SIZE), 255, np.uint8), {"eyes": 1.0, "nose": 1.0, "mouth": float(len(given) < 3)})

    monkeypatch.setattr("apdraw_cli.datasets.portraits.draw_portrait", draw)
    return given


def test_meshes_of_ones_own(quick_artist: list[Any], photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(50, 300, (3, POINTS, 3)).astype(np.float32)
    names = np.array(["astronaut.png", "grace_hopper.jpg", "nobody.png"])
    np.savez(tmp_path / "meshes.npz", names=names, points=points, valid=np.array([True, False, True]))
    dataset = tmp_path / "dataset"
    result = run(photos, dataset, npr="artist", meshes=tmp_path / "meshes.npz")
    assert result.reasons["no mesh in the file of meshes"] == 1
    ((photo, transform, mesh, labels),) = quick_artist
    np.testing.assert_allclose(mesh, points[0, :, :2], atol=0.01)
    assert labels.shape == photo.shape[:2]
    assert set(np.unique(labels)) == {0, 1, 2}
    aligned = cv2.warpAffine(labels, transform, (SIZE, SIZE), flags=cv2.INTER_NEAREST)
    there = cv2.imread(str(dataset / "labels" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert (aligned != there).mean() < 0.02
    stored = read_landmarks(dataset / "meshes" / "astronaut.txt", POINTS)
    np.testing.assert_allclose(stored, apply(transform, points[0, :, :2]), atol=0.01)
    run(photos, dataset)
    assert list((dataset / "meshes").iterdir()) == []


def test_portraits_that_the_artist_cannot_draw_are_left_out(
    quick_artist: list[Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_artist.append(None)  # the third, here the second portrait's, has a bad mouth
    assert run(photos, tmp_path / "dataset", npr="artist").reasons["its two-tone drawing came out badly"] == 1
    monkeypatch.setattr("apdraw_cli.datasets.portraits.LEAST_PLAUSIBLE", 1.1)
    with pytest.raises(UsageError, match="can be used"):
        run(photos, tmp_path / "other", npr="artist")
    assert index(tmp_path / "other")["astronaut.png"]["left_out"] == "no face mesh fits it"


@pytest.mark.parametrize(
    ("arguments", "npr"),
    [
        (["P", "D", "--npr"], "artist"),
        (["--npr", "P", "D"], "artist"),
        (["P", "D", "--npr", "--workers", "0"], "artist"),
        (["P", "D", "--npr", "artist"], "artist"),
        (["--npr", "filter", "P", "D"], "filter"),
        (["P", "D", "--npr=filter"], "filter"),
    ],
)
def test_npr_may_go_without_a_value(arguments: list[str], npr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[PrepareOptions] = []

    def refuse(options: PrepareOptions, progress: object) -> None:
        asked.append(options)
        raise UsageError("seen")

    monkeypatch.setattr("apdraw_cli.commands.prepare.prepare", refuse)
    assert "seen" in CliRunner().invoke(app, ["prepare", *arguments]).stderr
    assert (asked[0].photos, asked[0].dataset, asked[0].pairs.npr) == (Path("P"), Path("D"), npr)


def test_an_artists_drawings_replace_filtered_ones(
    quick_npr: None, photos: Path, drawings: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    run(photos, dataset)
    result = run(photos, dataset, drawings=drawings)
    assert (result.prepared, result.kept) == (2, 0)
    assert list((dataset / "lines").iterdir()) == []


def test_an_interrupted_run_goes_on(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    stopped = run(photos, dataset, interrupt)
    assert (stopped.interrupted, stopped.prepared) == (True, 1)
    assert stopped.contact_sheet is None
    with pytest.raises(DatasetError, match="is not finished"):
        PortraitPairs(dataset, "train")
    result = run(photos, dataset)
    assert (result.prepared, result.kept, result.interrupted) == (2, 1, False)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_killed_run_goes_on(tmp_path: Path, workers: str) -> None:
    photos, dataset = tmp_path / "photos", tmp_path / "dataset"
    photos.mkdir()
    for i in range(3):
        (photos / f"{i}.jpg").write_bytes((SAMPLES / "grace_hopper.jpg").read_bytes())
    command = [sys.executable, "-m", "apdraw_cli", "prepare", str(photos), str(dataset), "--npr", "filter"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--workers", workers], stderr=subprocess.DEVNULL, env=environment)
    journal = dataset / ".apdraw-prepare" / "journal.jsonl"
    end = time.monotonic() + 300
    while not (journal.exists() and journal.read_bytes().count(b"{") >= 1):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    assert not (dataset / "index.jsonl").exists()
    finished = journal.read_bytes().count(b"}\n")
    with journal.open("ab") as file:
        file.write(b'{"name": "cut o')  # and in the middle of a line
    (dataset / ".apdraw-prepare" / ".apdraw-1-0.part").write_bytes(b"half a file")
    assert run(photos, dataset, interrupt).prepared == finished + 1
    result = run(photos, dataset)
    assert (result.prepared, result.kept) == (3, finished + 1)
    assert not (dataset / ".apdraw-prepare").exists()
    for folder in FOLDERS:
        contents = [path.read_bytes() for path in (dataset / folder).iterdir()]
        assert len(contents) == 3
        assert len(set(contents)) == 1  # of one photo's copies
    assert run(photos, dataset).kept == 3


def test_two_runs_do_not_meet_in_one_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    lock = FolderLock(tmp_path / "dataset")
    assert lock.acquire()
    with pytest.raises(UsageError, match="another apdraw is preparing"):
        run(photos, tmp_path / "dataset")
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == [".apdraw.lock"]
    lock.release()
    assert list((tmp_path / "dataset").iterdir()) == []


def test_label_maps_of_ones_own(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    page = np.zeros((512, 512), np.uint8)
    cv2.ellipse(page, (224, 125), (34, 45), 0, 0, 360, 2, -1)
    cv2.imwrite(str(labels / "astronaut.png"), page)
    dataset = tmp_path / "dataset"
    assert run(photos, dataset, labels=labels).reasons["no label map of the photo's size"] == 1
    assert "imread" not in capfd.readouterr().err
    aligned = cv2.imread(str(dataset / "labels" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(aligned)) == {0, 2}


def test_the_command_tells_what_it_did(photos: Path, drawings: Path, tmp_path: Path) -> None:
    (photos / "more").mkdir()
    arguments = ["prepare", str(photos), str(tmp_path / "dataset"), "--drawings", str(drawings), "--workers", "0"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    assert lines[0] == "Left out:"
    assert "  broken.jpg  no drawing has its name" in lines
    assert "2 left out: no drawing has its name" in lines
    assert "Not looked into, prepare each by itself: more" in lines
    assert f"Prepared 2 portraits in {tmp_path / 'dataset'} (1 with a drawing moved onto the photo)" in lines
    as_json = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (as_json["prepared"], as_json["kept"]) == (2, 2)
    assert [each["name"] for each in as_json["left_out"]] == ["broken.jpg", "nobody.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--drawings DIR for an artist's, or --npr"),
        (["--npr", "--drawings", "."], "--drawings DIR for an artist's, or --npr"),
        (["--npr", "--min-agreement", "0.2"], "leave it out with --npr"),
        (["--npr", "filter", "--meshes", "m.npz"], "--meshes is what --npr artist draws along"),
        (["--npr", "--meshes", "nowhere.npz"], "nowhere.npz holds no meshes"),
        (["--drawings", "nowhere"], "nowhere is no folder"),
    ],
)
def test_wrong_usage_is_one_line(photos: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    wrong = CliRunner().invoke(app, ["prepare", str(photos), str(tmp_path / "other"), *arguments])
    assert wrong.exit_code == 2
    assert message in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_nothing_to_prepare_is_one_line(photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no photos"):
        run(empty, tmp_path / "dataset")
    with pytest.raises(UsageError, match="no drawings"):
        run(photos, tmp_path / "dataset", drawings=empty)
    with pytest.raises(UsageError, match="no folder"):
        run(tmp_path / "nowhere", tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_folder_that_cannot_be_used_is_one_line(photos: Path, drawings: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label maps"):
        run(photos, tmp_path / "dataset", labels=tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    for dataset in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be made"):
            run(photos, dataset)
    before = (photos / "nobody.png").read_bytes()
    for dataset in (photos, photos.parent, drawings):
        with pytest.raises(UsageError, match="written over"):
            run(photos, dataset, drawings=drawings)
    assert (photos / "nobody.png").read_bytes() == before
    with pytest.raises(UsageError, match="holds the photos"):
        run(photos, tmp_path / "dataset", drawings=photos)


def test_a_file_that_cannot_be_written_is_one_line(
    quick_npr: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("apdraw_cli.datasets.records.new_part", full)
    with pytest.raises(UnfitError, match=r"cannot write .*photos.astronaut\.png .*make room"):
        run(photos, tmp_path / "dataset")


@pytest.mark.parametrize("kind", ["folder", "picture", "link", "landmarks"])
def test_a_file_of_the_users_is_not_written_over(quick_npr: None, photos: Path, tmp_path: Path, kind: str) -> None:
    dataset = tmp_path / "dataset"
    path = dataset / ("landmarks/astronaut.txt" if kind == "landmarks" else "drawings/astronaut.png")
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "picture":
        Pillow.new("L", (512, 512)).save(path)
    elif kind == "link":
        path.symlink_to(photos / "astronaut.png")
    else:
        path.write_text("my notes")
    before = state(path)
    with pytest.raises(UsageError, match="is in the way, and not written by this version"):
        run(photos, dataset)
    assert state(path) == before


def state(path: Path) -> tuple[int, ...]:
    """What writing over a file would change; reading it changes the time of the last access alone."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def test_an_index_has_nothing_removed(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    dataset, away = tmp_path / "dataset", tmp_path / "away"
    run(photos, dataset)
    shutil.copytree(dataset, away)
    (dataset / "labels").rename(tmp_path / "labels")
    (dataset / "labels").symlink_to(tmp_path / "labels")
    (dataset / "photos/mine.png").write_bytes((photos / "astronaut.png").read_bytes())
    before = {path: path.read_bytes() for folder in (away, photos) for path in folder.rglob("*") if path.is_file()}
    with (dataset / "index.jsonl").open("a") as index:
        for name in ("../../away/photos/astronaut", "mine", str(away / "photos/astronaut"), "..", "\ud800", "[" * 9999):
            index.write(json.dumps({"name": name, "source": "gone.jpg"}) + "\n" + "[" * 100_000 + "\n")
    with pytest.raises(UsageError, match="leads out of the folder"):
        run(photos, dataset)
    (dataset / "labels").unlink()
    (tmp_path / "labels").rename(dataset / "labels")
    assert run(photos, dataset).prepared == 2
    assert {path: path.read_bytes() for path in before} == before
    assert (dataset / "photos/mine.png").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_told_and_not_waited_for(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    os.mkfifo(photos / "pipe.jpg")
    result = run(photos, tmp_path / "dataset")
    assert {each.name: each.reason for each in result.left_out}["pipe.jpg"] == "neither a file nor a folder"
    for place in ("index.jsonl", "photos/astronaut.png"):
        (tmp_path / "dataset" / place).unlink()
        os.mkfifo(tmp_path / "dataset" / place)
        with pytest.raises(UsageError, match=f"{place} "):
            run(photos, tmp_path / "dataset")
        (tmp_path / "dataset" / place).unlink()
        run(photos, tmp_path / "dataset")
    os.mkfifo(tmp_path / "splits.csv")
    with pytest.raises(UsageError, match=r"splits.csv cannot be read .*not a regular file"):
        run(photos, tmp_path / "dataset", index=tmp_path / "splits.csv")


def test_a_data_set_of_other_photos_is_not_written_over(photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    line = {"name": "ann", "source": "ann.jpg", "split": "train", "left_out": None}
    (dataset / "index.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="made of other photos"):
        run(photos, dataset)
    assert "ann" in (dataset / "index.jsonl").read_text(encoding="utf-8")


def test_no_portrait_at_all_names_the_reason(photos: Path, tmp_path: Path) -> None:
    for name in ("astronaut.png", "grace_hopper.jpg"):
        (photos / name).write_bytes((photos / "nobody.png").read_bytes())
    with pytest.raises(UsageError, match=r"none of the 4 photos .* 3 for this reason: no face"):
        run(photos, tmp_path / "dataset")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"name\nx\n", "columns file and split"),
        (b"", "columns file and split"),
        (b"file,name\n", "columns file and split"),
        (b"file,split\n\xff\xfe,train\n", "cannot be read"),
        (b"file,split\nastronaut.png,test\n", "split 'test': write train or val"),
        (b"file,split\nastronaut.png\n", "write train or val"),
        (b"file,split\nother.png,val\n", "names none of the photos"),
    ],
)
def test_a_bad_index_is_one_line(photos: Path, tmp_path: Path, content: bytes, match: str) -> None:
    (photos / "index.csv").write_bytes(content)
    with pytest.raises(UsageError, match=match) as caught:
        run(photos, tmp_path / "dataset", index=photos / "index.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_an_index_from_a_spreadsheet_is_read_and_what_it_names_in_vain_is_told(
    quick_npr: None, photos: Path, tmp_path: Path
) -> None:
    (photos / "index.csv").write_bytes("\ufefffile,split\r\nastronaut.png,val\r\ngone.png,val\r\n".encode())
    result = run(photos, tmp_path / "dataset", index=photos / "index.csv")
    assert result.reasons["in the index, but not among the photos"] == 1
    assert index(tmp_path / "dataset")["astronaut.png"]["split"] == "val"


def test_names_as_long_as_a_file_system_has_them_are_prepared(quick_npr: None, photos: Path, tmp_path: Path) -> None:
    folder, dataset = tmp_path / "long", tmp_path / "dataset"
    folder.mkdir()
    japanese = f"{'あ' * 80}.png"
    assert len(japanese.encode()) == 244
    for name in (japanese, "a" * 255, f"{'b' * 251}.png"):
        shutil.copy(photos / "astronaut.png", folder / name)
    result = run(folder, dataset)
    assert (result.prepared, result.left_out) == (3, ())
    assert run(folder, dataset).kept == 3
    assert len(PortraitPairs(dataset, "train")) + len(PortraitPairs(dataset, "val")) == 3
