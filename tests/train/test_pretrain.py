"""A few steps on a tiny data set: it learns, goes on where it stopped, and leaves a model."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.portrait import SIZE, TEMPLATE
from train import segmenter
from train.dataset import Augmentation, Pair, PortraitPairs, vary
from train.export import synthetic_portraits
from train.model_file import load_generator
from train.pretrain import Pretraining, PretrainOptions, main, pretrain

TINY = PretrainOptions(steps=2, width=4, discriminator_width=4, save_every=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    portraits = synthetic_portraits(2, 0)
    for name in ("photos", "drawings", "masks", "landmarks"):
        (folder / name).mkdir()
    lines = []
    for i in range(2):
        cv2.imwrite(str(folder / f"photos/{i}.png"), portraits.photo[i][..., ::-1])
        cv2.imwrite(str(folder / f"masks/{i}.png"), portraits.mask[i])
        cv2.imwrite(str(folder / f"drawings/{i}.png"), portraits.photo[i].mean(axis=2).astype(np.uint8))
        np.savetxt(folder / f"landmarks/{i}.txt", portraits.landmarks[i], fmt="%d")
        lines.append({"name": str(i), "split": "train", "left_out": None})
    lines.append({"name": "gone", "split": "train", "left_out": "no face"})
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def batch(dataset: Path) -> Pair:
    return Pair(*torch.utils.data.default_collate([PortraitPairs(dataset, "train")[0]]))


def test_pairs_are_scaled_and_left_out_ones_are_left_out(dataset: Path) -> None:
    pairs = PortraitPairs(dataset, "train")
    assert len(pairs) == 2
    pair = pairs[0]
    assert pair.photo.shape == (3, SIZE, SIZE)
    assert pair.photo.min() >= -1
    assert pair.photo.max() <= 1
    assert set(pair.mask.unique().tolist()) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="split val"):
        PortraitPairs(dataset, "val")
    with pytest.raises(ValueError, match="no prepared data set"):
        PortraitPairs(dataset / "nowhere", "train")


@pytest.mark.parametrize("seed", range(4))
def test_everything_moves_together(seed: int) -> None:
    """A spot on photo, drawing and mask stays under its landmark; a flip swaps left and right."""
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    for i, point in enumerate(np.rint(TEMPLATE).astype(int)):
        cv2.circle(photo, tuple(int(v) for v in point), 6, (50 + 40 * i,) * 3, -1)
    drawing, mask = photo[..., 0].copy(), np.where(photo[..., 0] > 0, 255, 0).astype(np.uint8)
    how = Augmentation(landmark_jitter=0, mask_jitter=0, photometric=False)
    moved = vary(photo, drawing, mask, np.rint(TEMPLATE), how, np.random.default_rng(seed))
    landmarks = moved[3]
    order = range(5) if moved[0][tuple(np.rint(landmarks[0]).astype(int)[::-1])][0] < 70 else [1, 0, 2, 4, 3]
    for value, (x, y) in zip((50 + 40 * i for i in order), np.rint(landmarks).astype(int), strict=True):
        assert abs(int(moved[0][y, x, 0]) - value) < 6
        assert abs(int(moved[1][y, x]) - value) < 6
        assert moved[2][y, x] == 255
    assert landmarks[0][0] < landmarks[1][0]
    assert landmarks[3][0] < landmarks[4][0]


def test_one_pair_is_learnt(dataset: Path) -> None:
    training = Pretraining(replace(TINY, steps=1000, no_dropout=True))
    pair = batch(dataset)
    losses = [training.train_step(pair)["G_L1"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
    assert losses[-1] == min(losses[-3:]) or losses[-1] < 0.7 * losses[0]


def test_the_discriminators_leave_the_generator_alone_and_vice_versa(dataset: Path) -> None:
    training = Pretraining(TINY)
    training.train_step(batch(dataset))
    assert all(p.grad is not None for p in training.generator.parameters())
    assert all(p.requires_grad for p in training.discriminators.parameters())


def test_a_run_goes_on_where_it_stopped(dataset: Path, tmp_path: Path) -> None:
    training = Pretraining(replace(TINY, steps=4))
    pair = batch(dataset)
    training.train_step(pair)
    torch.save(training.state(), tmp_path / "state.pt")
    unbroken = [training.train_step(pair) for _ in range(2)]
    resumed = Pretraining(replace(TINY, steps=4, seed=1))
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [resumed.train_step(pair) for _ in range(2)] == unbroken


def test_it_leaves_a_model_and_its_metrics(dataset: Path, tmp_path: Path) -> None:
    model = pretrain(dataset, tmp_path / "run", TINY)
    generator, metadata = load_generator(model)
    assert generator.config.width == 4
    assert "train.pretrain" in metadata["provenance"]
    assert all(torch.isfinite(value).all() for value in generator.state_dict().values())
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_batch_that_cannot_be_filled_ends_the_run_before_it_starts(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 portraits to train on, fewer than one batch of 3"):
        pretrain(dataset, tmp_path / "run", replace(TINY, batch_size=3))
    with pytest.raises(ValueError, match="no prepared data set"):
        pretrain(tmp_path / "nowhere", tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_other_options_is_refused(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(dataset, run, replace(TINY, steps=1))
    before = (run / "options.json").read_bytes()
    with pytest.raises(ValueError, match=r"made with lr 0\.0002, not 0\.1"):
        pretrain(dataset, run, replace(TINY, lr=0.1))
    assert (run / "options.json").read_bytes() == before
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["options"]["bf16"]  # as if made before there was such an option
    torch.save(state, run / "checkpoint.pt")
    others = replace(TINY, bf16=True, save_every=5, licence="CC0-1.0", training_data="x", norm_statistics="running")
    pretrain(dataset, run, others)
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 2
    assert json.loads((run / "options.json").read_text(encoding="utf-8"))["licence"] == "CC0-1.0"


@pytest.mark.parametrize(
    ("command", "program", "extra", "message"),
    [
        (main, "train.pretrain", [], "no prepared data set"),
        (main, "train.pretrain", ["--width", "-1"], "width must be"),
        (segmenter.main, "train.segmenter", [], "no prepared data set"),
    ],
)
def test_a_bad_command_line_ends_in_one_line(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[], None],
    program: str,
    extra: list[str],
    message: str,
) -> None:
    folder = dataset if extra else tmp_path / "nowhere"
    monkeypatch.setattr(sys, "argv", ["x", str(folder), "--output", str(tmp_path / "out"), *extra])
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"python -m {program}: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
