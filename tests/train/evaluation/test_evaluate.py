import dataclasses
import tracemalloc

import cv2
import numpy as np
import pytest
from evaluation_fakes import drawing, grid_features, make_dataset, write
from scipy import linalg

from engines.errors import FeaturesError, UsageError
from train.data.pairs import PortraitPairs
from train.evaluation import metrics as measures
from train.evaluation.evaluate import WORST, LeftOut, evaluate, score, sheet_of
from train.evaluation.fid import WEIGHTS, inception_features, usual_weights

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return PortraitPairs(make_dataset(tmp_path_factory.mktemp("evaluate") / "dataset", NAMES), "val")


def altered(change):
    """Draws the data set's own drawing, changed."""

    def draw(names, portraits):
        return [change(drawing(NAMES.index(name))) for name in names]

    return draw


def test_a_perfect_model_scores_perfectly(pairs):
    found = evaluate(pairs, altered(lambda page: page), features=grid_features)
    assert [portrait.name for portrait in found.portraits] == NAMES
    assert (found.mean.l1, found.mean.chamfer) == (0, 0)
    assert found.mean.ssim == pytest.approx(1, abs=1e-6)
    assert found.mean.two_tone == found.mean.reference_two_tone > 0.9
    assert found.mean.background == found.mean.reference_background > 200
    assert found.fid == pytest.approx(0, abs=1e-6)
    assert found.left_out == ()


def test_the_more_a_model_blurs_or_shifts_the_worse_it_scores(pairs):
    blurs = [
        evaluate(pairs, altered(lambda page, s=sigma: cv2.GaussianBlur(page, (0, 0), s)), features=grid_features)
        for sigma in (1, 3)
    ]
    shifts = [
        evaluate(pairs, altered(lambda page, s=step: np.roll(page, s, 1)), features=grid_features) for step in (2, 12)
    ]
    for better, worse in (blurs, shifts):
        assert 0 < better.mean.l1 < worse.mean.l1
        assert 1 > better.mean.ssim > worse.mean.ssim
        assert 0 < better.mean.chamfer < worse.mean.chamfer
        assert 0 < better.fid < worse.fid
    assert blurs[0].mean.two_tone > blurs[1].mean.two_tone


def assert_alike(first, second):
    """The same but for the order of additions, which threads may change."""
    assert dataclasses.asdict(first) == pytest.approx(dataclasses.asdict(second), rel=1e-5)


def test_scores_are_those_of_each_drawing_whatever_the_batch(pairs):
    def draw(names, portraits):
        assert portraits.photo.dtype == np.uint8
        assert len(names) == len(portraits)
        return list(portraits.photo[..., 1])

    one, batched = (evaluate(pairs, draw, batch_size=size, features=grid_features) for size in (1, 2))
    assert [portrait.name for portrait in one.portraits] == [portrait.name for portrait in batched.portraits]
    for alone, among in zip(one.portraits, batched.portraits, strict=True):
        assert_alike(alone.scores, among.scores)
    assert_alike(one.mean, batched.mean)
    assert one.fid == pytest.approx(batched.fid, rel=1e-9)
    photo = cv2.imread(str(pairs.folder / "photos" / "b.png"))[..., 1]
    mask = cv2.imread(str(pairs.folder / "masks" / "b.png"), cv2.IMREAD_GRAYSCALE)
    assert_alike(one.portraits[1].scores, score(photo, drawing(1), mask))
    assert one.mean.l1 == pytest.approx(np.mean([portrait.scores.l1 for portrait in one.portraits]))


def test_fid_is_the_frechet_distance_of_all_drawings(pairs):
    two = [12, 27]
    found = evaluate(pairs, altered(lambda page: 255 - page), features=lambda d: grid_features(d)[:, two], batch_size=2)
    references = grid_features(np.stack([drawing(index) for index in range(3)]))[:, two].astype(np.float64)
    inverted = 255 - references
    root = linalg.sqrtm(np.cov(inverted, rowvar=False) @ np.cov(references, rowvar=False)).real
    means = inverted.mean(axis=0) - references.mean(axis=0)
    spread = np.cov(inverted, rowvar=False) + np.cov(references, rowvar=False) - 2 * root
    assert found.fid == pytest.approx(means @ means + np.trace(spread), rel=1e-4)


def test_a_limit_and_progress(pairs):
    told = []
    found = evaluate(
        pairs, altered(lambda page: page), batch_size=2, limit=1, features=grid_features,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [portrait.name for portrait in found.portraits] == ["a"]
    assert found.fid is None  # of one drawing there is none
    assert told == [(1, 1)]
    told.clear()
    evaluate(pairs, altered(lambda page: page), batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]


def test_what_cannot_be_measured_is_left_out(tmp_path):
    folder = make_dataset(tmp_path / "dataset", [*NAMES, "d"])
    (folder / "photos" / "b.png").write_bytes(b"no picture")

    def draw(names, portraits):
        return ["no drawing of it" if name == "c" else np.zeros((512, 512), np.uint8) for name in names]

    found = evaluate(PortraitPairs(folder, "val"), draw, batch_size=4)
    assert [portrait.name for portrait in found.portraits] == ["a", "d"]
    assert found.left_out[1:] == (LeftOut("c", "no drawing of it"),)
    assert found.left_out[0].name == "b"
    assert "b.png" in found.left_out[0].reason


def test_nothing_to_measure(pairs):
    with pytest.raises(UsageError, match="none of the 3 portraits could be measured; a: lost"):
        evaluate(pairs, lambda names, portraits: ["lost"] * len(names))


def test_a_person_who_fills_the_picture(tmp_path):
    folder = make_dataset(tmp_path / "dataset", ["a"])
    write(folder / "masks" / "a.png", np.full((512, 512), 255, np.uint8))
    found = evaluate(PortraitPairs(folder, "val"), altered(lambda page: page))
    assert found.mean.background is None
    assert found.mean.reference_background is None


class Repeated:
    """Many portraits without their files."""

    def __init__(self, pairs, count):
        self.names = [f"{index:03}" for index in range(count)]
        self._pair = pairs[0]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self._pair


def shifted_by_name(names, portraits):
    """The right drawing, moved by as many pixels as the name says."""
    return [np.roll(drawing(0), int(name) * 7 % 23, 1) for name in names]


@pytest.fixture
def quick_ssim(monkeypatch):
    """For tests that do not look at it."""
    monkeypatch.setattr("train.evaluation.metrics.ssim", lambda drawing, reference: 0.5)


def test_the_worst_are_kept_with_their_pictures(quick_ssim, pairs):
    found = evaluate(Repeated(pairs, 14), shifted_by_name)
    by_chamfer = sorted(found.portraits, key=lambda portrait: -portrait.scores.chamfer)
    assert [example.name for example in found.worst] == [portrait.name for portrait in by_chamfer[:WORST]]
    worst = found.worst[0]
    np.testing.assert_array_equal(worst.drawing, shifted_by_name([worst.name], None)[0])
    np.testing.assert_array_equal(worst.reference, drawing(0))
    photo = cv2.imread(str(pairs.folder / "photos" / "a.png"))[..., ::-1]
    np.testing.assert_array_equal(worst.photo, photo)


def test_memory_does_not_grow_with_pictures(quick_ssim, pairs):
    def peak(count):
        tracemalloc.start()
        try:
            evaluate(Repeated(pairs, count), shifted_by_name, features=grid_features)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(30) < peak(15) + 2e6  # a portrait's pictures take 1.3 MB


def test_the_contact_sheet_shows_photo_drawing_and_reference(pairs):
    found = evaluate(pairs, altered(lambda page: 255 - page))
    sheet = sheet_of(found.worst, cell=128)
    gap, letters = 8, 11
    high, wide = letters + 3 * gap + 128, 3 * (128 + gap)
    assert sheet.shape == (gap + 2 * high, gap + 2 * wide, 3)  # three portraits, two a row
    for index, example in enumerate(found.worst):
        top, left = gap + index // 2 * high, gap + index % 2 * wide
        assert (sheet[top : top + letters + gap, left : left + 200] < 128).any()  # the label
        for column, picture in enumerate((example.photo, example.drawing, example.reference)):
            shown = sheet[top + letters + gap :, left + column * (128 + gap) :][:128, :128]
            small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
            small = small if small.ndim == 3 else np.repeat(small[..., None], 3, 2)
            np.testing.assert_allclose(shown.astype(float), small, atol=1)
    assert (sheet[gap + high :, gap + wide :] == 255).all()


def test_names_in_any_script_are_captioned(tmp_path):
    folder = make_dataset(tmp_path / "dataset", ["Zoë 画"])
    found = evaluate(PortraitPairs(folder, "val"), lambda names, portraits: [drawing(0)])
    assert sheet_of(found.worst).shape[2] == 3


def test_means_are_over_those_that_have_a_value(pairs):
    found = evaluate(pairs, altered(lambda page: page))
    backgrounds = [portrait.scores.background for portrait in found.portraits]
    assert found.mean.background == pytest.approx(np.mean(backgrounds))
    assert measures.l1(drawing(0), drawing(1)) > 0  # the portraits differ


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"no weights", "is no file of weights"),
        (b"", "is no file of weights"),
    ],
)
def test_weights_that_are_none(tmp_path, content, told):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeaturesError, match=told) as caught:
        inception_features(path)
    assert WEIGHTS in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_with_code_in_them_are_not_run(tmp_path):
    import pickle

    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(FeaturesError, match="is no file of weights"):
        inception_features(path)
    assert not (tmp_path / "harm").exists()


def test_other_weights_are_told_from_the_usual_ones(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"others")
    assert not usual_weights(path)
    with pytest.raises(FeaturesError, match="cannot be read"):
        usual_weights(tmp_path / "none.pth")
