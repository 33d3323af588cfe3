"""Training pairs: both layouts, what is wrong with them in one line, and variation that can be repeated."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engines.errors import DatasetError
from engines.portrait import SIZE, TEMPLATE
from engines.synthetic import synthetic_portraits
from train.data.augmentation import Augmentation, _cast_shadow, vary
from train.data.pairs import PortraitPairs, read_index

STILL = Augmentation(
    rotation=0, scale=1, flip=False, shift=0, landmark_jitter=0, mask_jitter=0, photometric=False, crop=0
)


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


@pytest.mark.parametrize("seed", range(4))
def test_everything_moves_together(seed: int) -> None:
    """A spot on photo, drawing and mask stays under its landmark; a flip swaps left and right."""
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    for i, point in enumerate(np.rint(TEMPLATE).astype(int)):
        cv2.circle(photo, tuple(int(v) for v in point), 6, (50 + 40 * i,) * 3, -1)
    drawing, mask = photo[..., 0].copy(), np.where(photo[..., 0] > 0, 255, 0).astype(np.uint8)
    how = Augmentation(landmark_jitter=0, mask_jitter=0, photometric=False, crop=0)
    moved = vary(photo, drawing, mask, np.rint(TEMPLATE), how, np.random.default_rng(seed))
    landmarks = moved[3]
    order = range(5) if moved[0][tuple(np.rint(landmarks[0]).astype(int)[::-1])][0] < 70 else [1, 0, 2, 4, 3]
    for value, (x, y) in zip((50 + 40 * i for i in order), np.rint(landmarks).astype(int), strict=True):
        assert abs(int(moved[0][y, x, 0]) - value) < 6
        assert abs(int(moved[1][y, x]) - value) < 6
        assert moved[2][y, x] == 255
    assert landmarks[0][0] < landmarks[1][0]
    assert landmarks[3][0] < landmarks[4][0]


def grey_ramp() -> np.ndarray:
    return np.repeat(np.linspace(40, 215, SIZE).astype(np.uint8)[None, :, None], SIZE, axis=0).repeat(3, axis=2)


def test_without_any_variation_nothing_changes() -> None:
    photo, landmarks = grey_ramp(), np.rint(TEMPLATE)
    varied = vary(photo, photo[..., 0], photo[..., 1], landmarks, STILL, np.random.default_rng(0))
    for before, after in zip((photo, photo[..., 0], photo[..., 1], landmarks), varied, strict=True):
        assert np.array_equal(before, after)


def test_the_papers_variation_is_rotation_scale_and_flip_alone() -> None:
    how = Augmentation.paper()
    photo = np.full((SIZE, SIZE, 3), 120, np.uint8)
    photo[:, :256] = 60
    lengths, angles, flips = [], [], []
    landmarks = np.rint(TEMPLATE)
    for seed in range(60):
        varied = vary(photo, photo[..., 0], photo[..., 0], landmarks, how, np.random.default_rng(seed))
        seen = varied[0][100:400, 100:400]
        assert (seen.min(), seen.max()) == (60, 120)  # the light stays
        eyes = varied[3][1] - varied[3][0]
        lengths.append(np.hypot(*eyes) / np.hypot(*(landmarks[1] - landmarks[0])))
        angles.append(np.degrees(np.arctan2(eyes[1], eyes[0])))
        flips.append(bool(varied[0][256, 200, 0] == 120))
        away = [np.hypot(*(points.mean(axis=0) - (SIZE / 2 - 0.5))) for points in (varied[3], landmarks)]
        assert abs(away[0] / lengths[-1] - away[1]) < 1  # no shift
    assert 15 < sum(flips) < 45
    assert 0.99 < min(lengths) < 1.02
    assert 1.07 < max(lengths) < 1.11
    assert -10.1 < min(angles) < -7
    assert 7 < max(angles) < 10.1


def test_light_and_camera_change_the_photo_alone_and_leave_it_recognisable() -> None:
    photo, landmarks = grey_ramp(), np.rint(TEMPLATE)
    how = replace(STILL, photometric=True)
    changed = 0
    for seed in range(40):
        varied = vary(photo, photo[..., 0], photo[..., 1], landmarks, how, np.random.default_rng(seed))
        assert np.array_equal(varied[1], photo[..., 0])
        assert np.array_equal(varied[3], landmarks)
        changed += not np.array_equal(varied[0], photo)
        seen = varied[0].astype(np.float32)
        assert 25 < seen.mean() < 235
        rows = seen.mean(axis=2).reshape(-1)
        assert np.corrcoef(rows, photo[..., 0].reshape(-1))[0, 1] > 0.4
    assert changed > 30


def test_a_photo_that_ends_inside_the_portrait_is_white_beyond_and_keeps_the_features() -> None:
    photo, landmarks = np.full((SIZE, SIZE, 3), 90, np.uint8), np.rint(TEMPLATE)
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    how = replace(STILL, crop=1)
    shares = []
    for seed in range(40):
        varied = vary(photo, photo[..., 0], mask, landmarks, how, np.random.default_rng(seed))
        beyond = varied[2] == 0
        assert (varied[0][beyond] == 255).all()
        assert (varied[1][beyond] == 255).all()
        assert (varied[0][~beyond] == 90).all()
        assert (varied[1][~beyond] == 90).all()
        for x, y in landmarks.astype(int):
            assert not beyond[y - 17 : y + 17, x - 17 : x + 17].any()
        shares.append(beyond.mean())
    assert min(shares) > 0.02
    assert max(shares) < 0.7


def test_shadows_have_edges_and_leave_something_to_see() -> None:
    edges = 0
    for seed in range(20):
        shadow = _cast_shadow(SIZE, SIZE, np.random.default_rng(seed))[..., 0]
        assert 0.3 < shadow.min() < 0.8
        assert 0.95 < shadow.max() < 1.2
        edges += np.abs(np.diff(shadow, axis=1)).max() > 0.02
    assert edges > 15
