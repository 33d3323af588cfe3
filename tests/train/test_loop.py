"""Runs of every stage on a few synthetic portraits: they learn, leave what they should, and can be stopped anywhere."""

import errno
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate
from training_runs import assert_same_weights

from engines.errors import CheckpointError, DatasetError, OptionsError, TrainingError
from train import loop
from train.checkpoint import checkpoints, load_checkpoint
from train.data.pairs import PortraitPairs
from train.devices import make_fabric
from train.loop import learning_rate
from train.model_file import load_generator
from train.networks import LineDetectors
from train.options import PRESETS, TrainOptions, resolve
from train.run_log import read_metrics
from train.stages import AdversarialStage
from train.starting_weights import Inputs
from train.stop_signals import Interrupted

TINY = resolve(
    {"stage": "pretrain", "steps": 3, "width": 2, "discriminator_width": 2, "device": "cpu", "workers": 0}
    | {"log_every": 1, "save_every": 1, "picture_every": 2, "detector_width": 2}
)


GLOBAL = replace(TINY, local_networks=False)
"""A sixth of the work, where the test is of the loop and not of what it trains."""


pytestmark = pytest.mark.usefixtures("one_portrait_shown")


def run_tiny(dataset: Path, run: Path, resume: bool = False, options: TrainOptions = TINY, **changes: Any) -> Path:
    result = loop.train(Inputs(dataset), run, replace(options, **changes), resume=resume)
    assert result is not None
    return result


def assert_nearly_same_weights(first: Path, second: Path) -> None:
    """After a step at a rate of almost nothing."""
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def unbroken(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps."""
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    run_tiny(tiny_dataset, run)
    return run


@pytest.fixture(scope="module")
def unbroken_global(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a step without local networks."""
    run = tmp_path_factory.mktemp("runs") / "global"
    run_tiny(tiny_dataset, run, options=GLOBAL, steps=1)
    return run


def test_a_run_leaves_what_it_should(unbroken: Path) -> None:
    generator, metadata = load_generator(unbroken / "generator.safetensors")
    assert generator.config.width == 2
    assert 'stage = "pretrain"' in metadata["provenance"]
    lines = read_metrics(unbroken)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"D", "G", "G_adv", "G_L1", "G_local", "lr", "epoch", "images_per_second"} <= lines[0].keys()
    assert "G_DT" not in lines[0]
    assert [path.name for path in sorted((unbroken / "pictures").iterdir())] == [
        "step-00000002.jpg",
        "step-00000003.jpg",
    ]
    assert list((unbroken / "tensorboard").glob("events.out.tfevents.*"))
    assert len(checkpoints(unbroken)) == 3
    assert resolve({}, unbroken / "config.toml") == TINY


def test_one_pair_is_learnt(tiny_dataset: Path) -> None:
    torch.manual_seed(0)
    options = replace(TINY, dropout=False, lr=2e-3)
    stage = AdversarialStage(make_fabric(options), options)
    batch = default_collate([PortraitPairs(tiny_dataset, "train")[0]])
    losses = [float(stage.step(batch)["G_L1"]) for _ in range(4)]
    assert losses[-1] < 0.5 * losses[0]


def test_ink_can_count_beside_l1_and_l_local(tiny_dataset: Path) -> None:
    options = replace(TINY, ink_weight=2.0, pixel_weight=10.0, local_weight=5.0)
    torch.manual_seed(0)
    stage = AdversarialStage(make_fabric(options), options)
    losses = stage.step(default_collate([PortraitPairs(tiny_dataset, "train")[0]]))
    plain = losses["G_adv"] + 10 * losses["G_L1"] + 5 * losses["G_local"]
    torch.testing.assert_close(losses["G"], plain + 20 * losses["G_ink"] + 10 * losses["G_local_ink"])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    tiny_dataset: Path, unbroken: Path, tmp_path: Path
) -> None:
    again = run_tiny(tiny_dataset, tmp_path / "again")
    assert_same_weights(unbroken / "generator.safetensors", again)
    first = torch.load(checkpoints(unbroken)[0], weights_only=True)
    assert first["step"] == 1
    name = "whole.down.0.conv.weight"
    other = run_tiny(tiny_dataset, tmp_path / "other", seed=1, steps=1)
    assert not torch.equal(first["networks"]["generator"][name], load_file(other)[name])


def test_a_resumed_run_is_the_unbroken_one(tiny_dataset: Path, tmp_path: Path) -> None:
    options = replace(GLOBAL, ema_decay=0.5, save_every=2)
    run, whole = tmp_path / "run", tmp_path / "whole"
    result = run_tiny(tiny_dataset, run, options=options)
    shutil.copytree(run, whole)
    result.unlink()
    checkpoints(run)[-1].unlink()  # as if it had died after step 2, with metrics up to step 3
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "torn')
    assert run_tiny(tiny_dataset, run, resume=True, options=options) == result
    assert_same_weights(whole / result.name, result)
    curves = [
        [{k: v for k, v in line.items() if k != "images_per_second"} for line in read_metrics(folder)]
        for folder in (whole, run)
    ]
    assert curves[0] == curves[1]
    assert [line["step"] for line in curves[1]] == [1, 2, 3]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_and_draws(
    tiny_dataset: Path, unbroken: Path, unbroken_global: Path, auxiliary: Path, tmp_path: Path, preset: str
) -> None:
    options = resolve(
        {"preset": preset, "steps": 1, "width": 2, "discriminator_width": 2, "device": "cpu", "workers": 0}
    )
    start = (unbroken if options.local_networks else unbroken_global) if options.pretrained else None
    lines = auxiliary if options.distance_weight else None
    result = loop.train(Inputs(tiny_dataset, start, lines), tmp_path / "run", options)
    assert result is not None
    generator, _ = load_generator(result)
    assert generator.config.local_networks is (preset not in ("no-local", "pix2pix"))
    pair = default_collate([PortraitPairs(tiny_dataset, "train")[0]])
    with torch.inference_mode():
        assert generator(pair.photo, pair.landmarks, pair.mask).drawing.shape == (1, 1, 512, 512)
    terms = read_metrics(tmp_path / "run")[-1].keys()
    assert ("G_DT" in terms) is (preset not in ("no-dt", "pix2pix"))
    assert ("G_local" in terms) is (preset not in ("no-local", "pix2pix"))


@pytest.fixture(scope="module")
def auxiliary(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the auxiliary stage."""
    run = tmp_path_factory.mktemp("runs") / "auxiliary"
    options = resolve(
        {"stage": "auxiliary", "steps": 4, "batch_size": 2, "detector_width": 2, "device": "cpu", "workers": 0}
        | {"log_every": 1}
    )
    assert loop.train(Inputs(tiny_dataset), run, options) == run / "lines.safetensors"
    return run


def test_the_auxiliary_stage_learns(auxiliary: Path) -> None:
    losses = [line["lines"] for line in read_metrics(auxiliary)]
    assert losses[-1] < losses[0]
    from train.line_detectors import load_detectors

    assert isinstance(load_detectors(auxiliary / "lines.safetensors"), LineDetectors)


def test_formal_training_starts_from_pretrained_weights(tiny_dataset: Path, unbroken: Path, tmp_path: Path) -> None:
    options = replace(TINY, stage="formal", lr=1e-12, steps=1)
    for start in (unbroken, unbroken / "generator.safetensors"):
        run = tmp_path / start.name
        result = loop.train(Inputs(tiny_dataset, start), run, options)
        assert result is not None
        assert_nearly_same_weights(unbroken / "generator.safetensors", result)
    judges = load_checkpoint(tmp_path / unbroken.name)["networks"]["discriminators"]
    taught = load_checkpoint(unbroken)["networks"]["discriminators"]
    torch.testing.assert_close(judges["whole.first.weight"], taught["whole.first.weight"])


def test_training_starts_from_a_run_that_was_stopped(tiny_dataset: Path, unbroken: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(unbroken / "checkpoints", stopped / "checkpoints")
    result = loop.train(Inputs(tiny_dataset, stopped), tmp_path / "next", replace(TINY, lr=1e-12, steps=1))
    assert result is not None
    assert_nearly_same_weights(unbroken / "generator.safetensors", result)
    with pytest.raises(OptionsError, match="other networks"):
        loop.train(Inputs(tiny_dataset, stopped), tmp_path / "wider", replace(TINY, width=4, steps=1))


def test_what_has_another_width_starts_anew(
    tiny_dataset: Path, unbroken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = replace(TINY, lr=1e-12, steps=1, background_width=4)
    result = loop.train(Inputs(tiny_dataset, unbroken), tmp_path / "run", options)
    assert "the network background in" in caplog.text
    assert result is not None
    found, taught = load_file(result), load_file(unbroken / "generator.safetensors")
    assert found["background.down.0.conv.weight"].shape[0] == 4
    torch.testing.assert_close(found["hair.down.0.conv.weight"], taught["hair.down.0.conv.weight"])


def copy_of_one_step(whole: Path, run: Path) -> Path:
    """A run of two steps as it was after the first."""
    shutil.copytree(whole, run)
    (run / "generator.safetensors").unlink()
    first, second = checkpoints(run)
    second.unlink()
    assert torch.load(first, weights_only=True)["step"] == 1
    return run


def test_frozen_norms_are_measured_once_and_survive_a_stop(tiny_dataset: Path, unbroken: Path, tmp_path: Path) -> None:
    options = replace(TINY, fusion_statistics="running", frozen_norms=True, steps=2)
    whole = loop.train(Inputs(tiny_dataset, unbroken), tmp_path / "whole", options)
    copy_of_one_step(tmp_path / "whole", tmp_path / "run")
    resumed = loop.train(Inputs(tiny_dataset), tmp_path / "run", options, resume=True)
    assert whole is not None
    assert resumed is not None
    assert_same_weights(whole, resumed)
    measured = load_checkpoint(tmp_path / "run")["networks"]["generator"]["fusion.norm.running_var"]
    assert torch.equal(load_file(whole)["fusion.norm.running_var"], measured)
    assert not torch.equal(measured, torch.ones_like(measured))
    later = loop.train(Inputs(tiny_dataset, tmp_path / "whole"), tmp_path / "later", replace(options, steps=1))
    assert later is not None
    assert torch.equal(load_file(later)["fusion.norm.running_var"], measured)


def test_formal_training_goes_on_with_the_line_detectors_it_began_with(
    tiny_dataset: Path, unbroken_global: Path, auxiliary: Path, tmp_path: Path
) -> None:
    options = replace(GLOBAL, stage="formal", distance_weight=0.1, steps=2)
    whole = loop.train(Inputs(tiny_dataset, unbroken_global, auxiliary), tmp_path / "whole", options)
    run = copy_of_one_step(tmp_path / "whole", tmp_path / "run")
    resumed = loop.train(Inputs(tiny_dataset), run, options, resume=True)
    assert whole is not None
    assert resumed is not None
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize(
    ("inputs", "changes", "message"),
    [
        ({}, {"stage": "formal"}, "--from .*--preset no-pretrain"),
        ({}, {"distance_weight": 0.1}, "--lines .*--preset no-dt"),
        ({"start": "unbroken"}, {"width": 8}, "other networks"),
        ({"start": "empty"}, {}, "holds no generator.safetensors"),
        ({"lines": "unbroken"}, {"distance_weight": 0.1}, "holds no lines.safetensors"),
        ({"lines": "unbroken"}, {"stage": "auxiliary"}, "leave out --from and --lines"),
    ],
)
def test_inputs_that_do_not_fit(
    tiny_dataset: Path,
    unbroken: Path,
    tmp_path: Path,
    inputs: dict[str, str],
    changes: dict[str, Any],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    paths = {name: unbroken if value == "unbroken" else tmp_path / value for name, value in inputs.items()}
    with pytest.raises(OptionsError, match=message):
        loop.train(Inputs(tiny_dataset, **paths), tmp_path / "run", replace(TINY, **changes))
    assert not (tmp_path / "run").exists()


def test_a_run_is_neither_overwritten_nor_gone_on_with_by_mistake(
    tiny_dataset: Path, unbroken: Path, tmp_path: Path
) -> None:
    before = (unbroken / "config.toml").read_bytes()
    with pytest.raises(OptionsError, match="holds a run already"):
        run_tiny(tiny_dataset, unbroken)
    with pytest.raises(OptionsError, match=r"lr was 0\.0002 so far, not 0\.1"):
        run_tiny(tiny_dataset, unbroken, resume=True, lr=0.1)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run_tiny(tiny_dataset, tmp_path / "nowhere", resume=True)
    assert (unbroken / "config.toml").read_bytes() == before


def test_too_few_pairs_for_a_step(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="3 portraits to train on, fewer than one step of 4"):
        run_tiny(tiny_dataset, tmp_path / "run", batch_size=4)


def test_a_loss_that_is_no_number_ends_the_run(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = AdversarialStage.step
    count = iter(range(10))

    def spoilt(self: AdversarialStage, batch: Any) -> dict[str, torch.Tensor]:
        losses = step(self, batch)
        return losses | {"G_L1": torch.tensor(float("nan"))} if next(count) == 1 else losses

    monkeypatch.setattr(AdversarialStage, "step", spoilt)
    with pytest.raises(TrainingError, match=r"G_L1 is nan at step 2; .*step-00000001.pt is kept: lower --lr"):
        run_tiny(tiny_dataset, tmp_path / "run", options=GLOBAL)
    assert load_checkpoint(tmp_path / "run")["step"] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_pair_is_named(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    run_tiny(copy, tmp_path / "run", options=GLOBAL, steps=1)
    for name in ("0", "1", "2"):
        (copy / "drawings" / f"{name}.png").write_bytes(b"no picture")
    # The examples are read first; here they are not what is looked at.
    monkeypatch.setattr(loop, "_example", lambda fabric, shown: None)
    with pytest.raises(DatasetError, match=r"drawings.[012]\.png") as raised:
        run_tiny(copy, tmp_path / "run", resume=True, options=GLOBAL, workers=workers, picture_every=100, steps=9)
    assert "\n" not in str(raised.value)
    assert load_checkpoint(tmp_path / "run")["step"] == 1


def test_a_full_disk_is_told_and_loses_no_checkpoint(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.save

    def full(state: dict[str, Any], file: Any) -> None:
        if state["step"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints are kept"):
        run_tiny(tiny_dataset, tmp_path / "run", options=GLOBAL)
    assert load_checkpoint(tmp_path / "run")["step"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_the_very_last_step_it_is_done(tiny_dataset: Path, tmp_path: Path, number: int) -> None:
    def stop_at(wanted: int) -> Any:
        class Asker:
            def begun(self, step: int, steps: int) -> None:
                pass

            def stepped(self, step: int, losses: dict[str, float]) -> None:
                if step == wanted:
                    signal.raise_signal(number)

        return Asker()

    options = replace(GLOBAL, steps=2)
    with pytest.raises(Interrupted, match="stopped at step 1"):
        loop.train(Inputs(tiny_dataset), tmp_path / "run", options, listener=stop_at(1))
    assert load_checkpoint(tmp_path / "run")["step"] == 1
    assert loop.train(Inputs(tiny_dataset), tmp_path / "run", options, resume=True, listener=stop_at(2)) is not None


def test_the_learning_rate_falls_at_the_end() -> None:
    constant, falling = TrainOptions(lr=1.0), TrainOptions(lr=1.0, lr_decay=0.5)
    assert [learning_rate(constant, step, 4) for step in range(4)] == [1, 1, 1, 1]
    assert [learning_rate(falling, step, 4) for step in range(4)] == [1, 1, 1, 0.5]
