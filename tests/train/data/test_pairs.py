"""Training pairs: both layouts, what is wrong with them in one line, and variation that can be repeated."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engines.errors import DatasetError
from engines.portrait import SIZE
from engines.synthetic import synthetic_portraits
from train.data.augmentation import Augmentation
from train.data.pairs import PortraitPairs, read_index


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prepared portraits, one of them of the split val, and one left out."""
    folder = tmp_path_factory.mktemp("made")
    portraits = synthetic_portraits(3, 0)
    for name in ("photos", "drawings", "masks", "landmarks"):
        (folder / name).mkdir()
    lines = []
    for i in range(3):
        cv2.imwrite(str(folder / f"photos/{i}.png"), portraits.photo[i][..., ::-1])
        cv2.imwrite(str(folder / f"masks/{i}.png"), portraits.mask[i])
        cv2.imwrite(str(folder / f"drawings/{i}.png"), portraits.photo[i].mean(axis=2).astype(np.uint8))
        np.savetxt(folder / f"landmarks/{i}.txt", portraits.landmarks[i], fmt="%d")
        lines.append({"name": str(i), "split": "val" if i == 2 else "train", "left_out": None})
    lines.append({"name": "gone", "split": "train", "left_out": "no face"})
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def prepared(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "prepared"))


@pytest.fixture
def authors(made: Path, tmp_path: Path) -> Path:
    """The same portraits in the authors' layout, with masks of 0 and 1."""
    folder = tmp_path / "authors"
    for name in ("data/train", "data/test", "landmark/ALL", "mask/ALL"):
        (folder / name).mkdir(parents=True)
    for i in range(3):
        photo, drawing = cv2.imread(str(made / f"photos/{i}.png")), cv2.imread(str(made / f"drawings/{i}.png"))
        split = "test" if i == 2 else "train"
        cv2.imwrite(str(folder / f"data/{split}/{i}.png"), np.hstack([photo, drawing]))
        cv2.imwrite(str(folder / f"mask/ALL/{i}.png"), cv2.imread(str(made / f"masks/{i}.png"), 0) // 255)
        shutil.copy(made / f"landmarks/{i}.txt", folder / f"landmark/ALL/{i}.txt")
    return folder


def test_pairs_are_scaled_and_left_out_ones_are_left_out(made: Path) -> None:
    pairs = PortraitPairs(made, "train")
    assert len(pairs) == 2
    assert pairs.names == ["0", "1"]
    pair = pairs[1]
    photo = cv2.imread(str(made / "photos/1.png"), cv2.IMREAD_COLOR_RGB)
    assert pair.photo.shape == (3, SIZE, SIZE)
    assert np.array_equal(((pair.photo.permute(1, 2, 0) + 1) * 127.5).round().numpy(), photo)
    assert pair.drawing.shape == pair.mask.shape == (1, SIZE, SIZE)
    assert pair.drawing.min() >= -1
    assert set(pair.mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(pair.landmarks, torch.from_numpy(np.loadtxt(made / "landmarks/1.txt", dtype=np.float32)))
    assert PortraitPairs(made, "val").names == ["2"]


def test_the_authors_layout_gives_the_same_pairs(made: Path, authors: Path) -> None:
    for split in ("train", "val"):
        ours, theirs = PortraitPairs(made, split), PortraitPairs(authors, split)
        assert ours.names == theirs.names
        for i in range(len(ours)):
            for a, b in zip(ours[i], theirs[i], strict=True):
                assert torch.equal(a, b)


def test_the_authors_example_is_read_as_it_is(shared: Path) -> None:
    folder = shared / "golden" / "author_model"
    pairs = PortraitPairs(folder, "train")
    assert pairs.names == ["sample"]
    pair = pairs[0]
    both = cv2.imread(str(folder / "data/train/sample.png"), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(((pair.photo.permute(1, 2, 0) + 1) * 127.5).round().numpy(), both[:, :SIZE])
    right = both[:, SIZE:].mean(axis=2)
    assert np.abs(((pair.drawing[0] + 1) * 127.5).numpy() - right).max() <= 1
    assert pair.landmarks[0].tolist() == [198, 251]
    person = cv2.imread(str(folder / "bg/sample.png"), cv2.IMREAD_GRAYSCALE) > 127
    assert np.array_equal(pair.mask[0].numpy() > 0.5, person)
    with pytest.raises(DatasetError, match="no portraits of the split val"):
        PortraitPairs(folder, "val")


def drop_index(folder: Path) -> None:
    (folder / "index.jsonl").unlink()


def interrupt(folder: Path) -> None:
    drop_index(folder)
    (folder / ".apdraw-prepare").mkdir()


def damage_index(folder: Path) -> None:
    with (folder / "index.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"name": "cut')


def forget_split(folder: Path) -> None:
    (folder / "index.jsonl").write_text('{"name": "0"}\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_index, "is no prepared data set"),
        (interrupt, "is not finished: run its apdraw prepare again"),
        (damage_index, r"index\.jsonl is damaged at line 5"),
        (forget_split, r"index\.jsonl is damaged at line 1"),
        (shutil.rmtree, "is no prepared data set"),
    ],
)
def test_a_folder_that_is_no_data_set_is_one_line(prepared: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(prepared)
    for use in (lambda: PortraitPairs(prepared, "train"), lambda: read_index(prepared)):
        with pytest.raises(DatasetError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


SMALL = cv2.imencode(".png", np.zeros((20, 30), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("photos/0.png", None, "photos.0.png cannot be read"),
        ("photos/0.png", b"no picture", "photos.0.png is damaged"),
        ("drawings/0.png", b"", "drawings.0.png is damaged"),
        (
            "masks/0.png",
            SMALL,
            "masks.0.png is 30 x 20 pixels",
        ),
        ("landmarks/0.txt", b"1 2\n3 4\n", "landmarks.0.txt does not hold five lines"),
        ("landmarks/0.txt", b"a b\n" * 5, "landmarks.0.txt does not hold five lines"),
        ("landmarks/0.txt", b"1 nan\n" * 5, "landmarks.0.txt does not hold five lines"),
        ("landmarks/0.txt", b"\xff\xfe", "landmarks.0.txt does not hold five lines"),
    ],
)
def test_a_bad_file_of_a_pair_is_named_in_one_line(
    prepared: Path, file: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (prepared / file).unlink()
    else:
        (prepared / file).write_bytes(content)
    pairs = PortraitPairs(prepared, "train")
    with pytest.raises(DatasetError, match=message) as caught:
        pairs[0]
    assert "\n" not in str(caught.value)
    assert pairs[1].photo.shape == (3, SIZE, SIZE)


def test_what_is_missing_in_the_authors_layout_is_told_at_once(authors: Path) -> None:
    (authors / "mask/ALL/0.png").unlink()
    with pytest.raises(DatasetError, match=r"mask.ALL.0\.png is missing, which belongs to .*data.train.0\.png"):
        PortraitPairs(authors, "train")
    shutil.copy(authors / "landmark/ALL/0.txt", authors / "mask/ALL/0.png")
    cv2.imwrite(str(authors / "data/train/0.png"), np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(DatasetError, match=r"is 512 x 512 pixels, not 1024 x 512"):
        PortraitPairs(authors, "train")[0]


def same(a: object, b: object) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))  # type: ignore[call-overload]


def test_variation_depends_on_seed_epoch_and_index_alone(made: Path) -> None:
    pairs = PortraitPairs(made, "train", Augmentation(), seed=3)
    torch.manual_seed(1)
    first = pairs[5, 1]
    torch.manual_seed(2)
    np.random.seed(7)  # whatever else draws numbers
    assert same(pairs[5, 1], first)
    assert same(PortraitPairs(made, "train", Augmentation(), seed=3)[5, 1], first)
    assert same(pairs[1], pairs[0, 1])
    assert not same(pairs[4, 1], first)
    assert not same(PortraitPairs(made, "train", Augmentation(), seed=4)[5, 1], first)
    worker = DataLoader(pairs, sampler=[(5, 1)], batch_size=None, num_workers=1)  # type: ignore[arg-type]
    assert same(next(iter(worker)), first)
