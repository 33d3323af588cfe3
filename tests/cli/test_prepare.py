import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from apdraw_cli.app import app
from apdraw_cli.commands.prepare import has_round_frame, prepare, split_of
from apdraw_cli.errors import UnfitError, UsageError
from engines.portrait import SIZE
from train.dataset import PortraitPairs

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in ("astronaut.png", "grace_hopper.jpg"):
        (folder / sample).write_bytes((SAMPLES / sample).read_bytes())
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "index.csv").write_text("file,split\nastronaut.png,train\ngrace_hopper.jpg,val\n", encoding="utf-8")
    return folder


def test_photos_become_pairs(photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    result = prepare(photos, dataset, index=photos / "index.csv")
    assert result.prepared == 2
    assert sum(result.left_out.values()) == 2
    assert result.left_out["no face"] == 1
    lines = [json.loads(line) for line in (dataset / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["name"]: line["left_out"] is None for line in lines} == {
        "astronaut": True,
        "broken": False,
        "grace_hopper": True,
        "nobody": False,
    }
    pair = PortraitPairs(dataset, "train")[0]
    assert pair.drawing.shape == (1, SIZE, SIZE)
    outside = pair.mask == 0
    assert pair.drawing[outside].mean() > 0.95  # white
    assert 0.03 < (pair.drawing < 0).float().mean() < 0.5
    assert PortraitPairs(dataset, "val").names == ["grace_hopper"]


def test_photos_of_one_name_do_not_meet(photos: Path, tmp_path: Path) -> None:
    (photos / "astronaut.webp").write_bytes((photos / "nobody.png").read_bytes())
    (photos / "grace_HOPPER.png").write_bytes((photos / "astronaut.png").read_bytes())
    dataset = tmp_path / "dataset"
    result = prepare(photos, dataset)
    assert result.left_out["another photo has this name"] == 2
    assert result.prepared == 2
    lines = [json.loads(line) for line in (dataset / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["source"]: line["name"] for line in lines} == {
        "astronaut.png": "astronaut",
        "astronaut.webp": "astronaut.webp",
        "broken.jpg": "broken",
        "grace_HOPPER.png": "grace_HOPPER",
        "grace_hopper.jpg": "grace_hopper.jpg",
        "nobody.png": "nobody",
    }
    assert sorted(path.name for path in (dataset / "photos").iterdir()) == ["astronaut.png", "grace_HOPPER.png"]


def test_a_photo_now_left_out_leaves_no_files(photos: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    for path in ("photos/nobody.png", "drawings/nobody.png", "landmarks/nobody.txt", "masks/nobody.png"):
        (dataset / path).parent.mkdir(parents=True)
        (dataset / path).write_bytes(b"of an earlier run")
    prepare(photos, dataset)
    assert list(dataset.rglob("nobody.*")) == []
    assert len(list(dataset.rglob("astronaut.*"))) == 5


def test_label_maps_of_ones_own(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    page = np.zeros((512, 512), np.uint8)
    cv2.ellipse(page, (224, 125), (34, 45), 0, 0, 360, 2, -1)
    cv2.imwrite(str(labels / "astronaut.png"), page)
    dataset = tmp_path / "dataset"
    assert prepare(photos, dataset, labels=labels).left_out["no label map of the photo's size"] == 1
    assert "imread" not in capfd.readouterr().err
    aligned = cv2.imread(str(dataset / "labels" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(aligned)) == {0, 2}


def test_the_command_tells_what_it_did(photos: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["prepare", str(photos), str(tmp_path / "dataset"), "--npr", "--json"])
    assert run.exit_code == 0
    assert json.loads(run.stdout)["prepared"] == 2
    unsaid = CliRunner().invoke(app, ["prepare", str(photos), str(tmp_path / "other")])
    assert unsaid.exit_code == 2
    assert "--npr" in unsaid.stderr
    assert not (tmp_path / "other").exists()


def test_nothing_to_prepare_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photos"):
        prepare(tmp_path, tmp_path / "dataset")
    with pytest.raises(UsageError, match="no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "dataset")


def test_a_folder_that_cannot_be_used_is_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label maps"):
        prepare(photos, tmp_path / "dataset", labels=tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    for dataset in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be made"):
            prepare(photos, dataset)
    before = (photos / "nobody.png").read_bytes()
    with pytest.raises(UsageError, match="written over"):
        prepare(photos, photos.parent)
    assert (photos / "nobody.png").read_bytes() == before


def test_a_file_that_cannot_be_written_is_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset" / "drawings" / "astronaut.png").mkdir(parents=True)
    with pytest.raises(UnfitError, match=r"cannot write .*drawings.astronaut\.png .*make room"):
        prepare(photos, tmp_path / "dataset")


def test_no_portrait_at_all_names_the_reason(photos: Path, tmp_path: Path) -> None:
    for name in ("astronaut.png", "grace_hopper.jpg"):
        (photos / name).write_bytes((photos / "nobody.png").read_bytes())
    with pytest.raises(UsageError, match=r"none of the 4 photos .* 3 for this reason: no face"):
        prepare(photos, tmp_path / "dataset")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"name\nx\n", "columns file and split"),
        (b"", "columns file and split"),
        (b"file,name\n", "columns file and split"),
        (b"file,split\n\xff\xfe,train\n", "cannot be read"),
        (b"file,split\nastronaut.png,test\n", "split 'test': write train or val"),
        (b"file,split\nastronaut.png\n", "write train or val"),
    ],
)
def test_a_bad_index_is_one_line(photos: Path, tmp_path: Path, content: bytes, match: str) -> None:
    (photos / "index.csv").write_bytes(content)
    with pytest.raises(UsageError, match=match) as caught:
        prepare(photos, tmp_path / "dataset", index=photos / "index.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_a_round_frame_shows_in_the_corners() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert not has_round_frame(photo)
    y, x = np.mgrid[0:200, 0:200]
    photo[(x - 100) ** 2 + (y - 100) ** 2 > 100**2] = (70, 100, 110)
    assert has_round_frame(photo)


def test_a_tenth_is_put_aside_always_the_same() -> None:
    names = [f"photo{i}" for i in range(2000)]
    share = np.mean([split_of(name) == "val" for name in names])
    assert 0.08 < share < 0.12
    assert [split_of(name) for name in names] == [split_of(name) for name in names]
