"""Where a training run's options come from, and which are refused."""

import os
from pathlib import Path

import pytest

from engines.errors import OptionsError
from train.networks.regions import LocalParts
from train.options import PRESETS, REGIONS, TrainOptions, changed, read_config, resolve, to_toml, typed


def test_the_defaults_are_the_papers() -> None:
    formal, pretrain = resolve({}), resolve({"stage": "pretrain"})
    assert (formal.epochs, formal.lr, formal.batch_size, formal.width, formal.dropout) == (300, 2e-4, 1, 64, True)
    weights = (formal.pixel_weight, formal.distance_weight, formal.local_weight, formal.local_adversarial_weight)
    assert weights == (100, 0.1, 25, 1)
    assert (pretrain.epochs, pretrain.distance_weight) == (10, 0)


def test_what_comes_later_counts_more(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('stage = "pretrain"\npreset = "pix2pix"\nepochs = 7\nbatch-size = 2\n', encoding="utf-8-sig")
    options = resolve({"batch_size": 3, "epochs": None}, config)
    assert (options.stage, options.epochs, options.batch_size, options.local_networks) == ("pretrain", 7, 3, False)
    assert resolve({"preset": "no-dt", "distance_weight": 0.2}).distance_weight == 0.2


def test_a_written_configuration_is_read_back(tmp_path: Path) -> None:
    options = resolve({"name": 'a "quoted" name, ünïcode\\', "lr": 1e-5, "fusion_width": 8, "dropout": False})
    config = tmp_path / "config.toml"
    config.write_text(to_toml(options), encoding="utf-8")
    assert resolve({}, config) == options


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_an_option_set_like_any_other(preset: str) -> None:
    options = resolve({"preset": preset})
    assert all(getattr(options, name) == value for name, value in PRESETS[preset].items())  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stage": "x"}, "stage must be one of auxiliary, local, pretrain, formal, not 'x'"),
        ({"preset": "x"}, "preset must be one of paper"),
        ({"width": 0}, "width must be over 0"),
        ({"width": "64"}, "width must be of the type int"),
        ({"batch_size": True}, "batch-size must be of the type int"),
        ({"lr": float("nan")}, "lr is too large, or no number"),
        ({"lr": float("inf")}, "lr is too large, or no number"),
        ({"lr": 10**400}, "lr is too large, or no number"),
        ({"epochs": 10**30}, "epochs is too large, or no number"),
        ({"stage": []}, "stage must be one of"),
        ({"preset": {}}, "preset must be one of"),
        ({"lr_decay": 1.5}, "lr-decay must not be over 1"),
        ({"ema_decay": 1.0}, "ema-decay"),
        ({"distance_weight": -1.0}, "distance-weight must not be under 0"),
        ({"device": "tpu"}, "device must be"),
        ({"precision": "fp16", "device": "cpu"}, "GPUs only"),
        ({"augmentation": "wild"}, "augmentation must be one of"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(OptionsError, match=message) as refused:
        resolve(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch = 3\n", "unknown options: epoch;"),
        (b"= 3", "no TOML file"),
        (b"\xff", "no TOML file"),
        (b"lr = " + b"9" * 5000, "no TOML file"),
        (b"lr = " + b"[" * 100_000, "no TOML file"),
        (b"#" * 2**21, "cannot read .*larger than"),
        (None, "cannot read"),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    config = tmp_path / "config.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(OptionsError, match=message):
        read_config(config)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(OptionsError, match=r"cannot read .*not a regular file"):
        read_config(tmp_path / "config.toml")


def test_what_may_change_when_a_run_goes_on() -> None:
    saved = {"lr": 2e-4, "epochs": 300, "an_option_of_another_version": 1}
    assert changed(saved, TrainOptions(epochs=5)) is None
    assert changed(saved, TrainOptions(lr=0.1)) == "lr was 0.0002 so far, not 0.1"


def test_options_are_typed_as_in_toml_and_words_as_they_are() -> None:
    said = typed(
        ["background-width=8", "frozen_norms=true", "augmentation=robust", "name=0.1", "lr = 3e-4", "width=8=8"]
    )
    assert said == {
        "background_width": 8,
        "frozen_norms": True,
        "augmentation": "robust",
        "name": "0.1",
        "lr": 3e-4,
        "width": "8=8",
    }
    with pytest.raises(OptionsError, match="width must be of the type int"):
        resolve(said)


@pytest.mark.parametrize("assignment", ["width", "depth=3", "=3", ""])
def test_what_is_typed_names_an_option(assignment: str) -> None:
    with pytest.raises(OptionsError, match="--list-options"):
        typed([assignment])


def test_regions_are_those_of_the_networks() -> None:
    assert LocalParts._fields == REGIONS


def test_names_of_older_runs_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("mean-decay = 0.5\n")
    options = resolve({}, tmp_path / "config.toml")
    assert options.ema_decay == 0.5
    assert typed(["mean-decay=0.5"]) == {"ema_decay": 0.5}
    assert changed({"mean_decay": 0.5}, options) is None
    assert changed({"mean_decay": 0.9}, options) == "ema-decay was 0.9 so far, not 0.5"
