"""The stages: what a step learns, what it leaves alone, and what is saved."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from engines.errors import OptionsError
from train import loop
from train.checkpoint import checkpoints
from train.data.crops import CropPairs
from train.devices import make_fabric
from train.model_file import load_generator
from train.options import TrainOptions, resolve
from train.stages import LocalStage
from train.starting_weights import Inputs

pytestmark = pytest.mark.usefixtures("one_portrait_shown")

LOCAL = resolve(
    {"stage": "local", "width": 2, "discriminator_width": 2, "device": "cpu", "workers": 0, "batch_size": 3}
    | {"steps": 2, "log_every": 1, "save_every": 1, "picture_every": 2}
)


def local_stage(**changes: Any) -> LocalStage:
    torch.manual_seed(0)
    options = replace(LOCAL, **changes)
    return LocalStage(make_fabric(options), options)


def batch(dataset: Path, options: TrainOptions) -> Any:
    pairs = CropPairs(dataset, "train", options.local_regions())
    return default_collate([pairs[index] for index in range(3)])


def test_a_local_network_learns_its_crops(tiny_dataset: Path) -> None:
    stage = local_stage(regions="eye_left", ema_decay=0.0, lr=0.02)
    crops = batch(tiny_dataset, replace(LOCAL, regions="eye_left"))
    losses = [float(stage.step(crops)["G_local"]) for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("adversarial", [0.0, 1.0])
def test_only_the_named_networks_are_trained(tiny_dataset: Path, tmp_path: Path, adversarial: float) -> None:
    stage = local_stage(regions="nose, mouth", local_adversarial_weight=adversarial)
    before = {name: value.clone() for name, value in stage.networks["generator"].state_dict().items()}
    losses = stage.step(batch(tiny_dataset, replace(LOCAL, regions="nose,mouth")))
    for network in stage.networks.values():  # DDP warns of gradients with other strides than their weights'
        learnt = [weight for weight in network.parameters() if weight.grad is not None]
        assert [weight.grad.stride() for weight in learnt] == [weight.stride() for weight in learnt]  # type: ignore[union-attr]
    assert losses.keys() == {"G_local", "G_local_ink", "G"} | ({"D", "G_adv"} if adversarial else set())
    total = 25 * losses["G_local"] + 25 * losses["G_local_ink"] + adversarial * losses.get("G_adv", 0)
    torch.testing.assert_close(losses["G"], total)
    stage.save(tmp_path / "generator.safetensors", {})
    saved = load_generator(tmp_path / "generator.safetensors")[0].state_dict()
    changed = {name.partition(".")[0] for name, value in saved.items() if not torch.equal(value, before[name])}
    assert changed == {"nose", "mouth"}


def test_what_is_saved_is_the_moving_average(tiny_dataset: Path) -> None:
    stage = local_stage(regions="mouth", ema_decay=0.75)
    name = "mouth.down.0.conv.weight"
    before = stage.networks["generator"].state_dict()[name].clone()
    stage.step(batch(tiny_dataset, replace(LOCAL, regions="mouth")))
    trained, averaged = (stage.networks[network].state_dict()[name] for network in ("generator", "mean"))
    torch.testing.assert_close(averaged, before + (trained - before) / 4)


def test_a_local_run_is_resumed_exactly_and_started_from(tiny_dataset: Path, tmp_path: Path) -> None:
    options = replace(LOCAL, regions="eye_left,hair", local_adversarial_weight=0.5, batch_size=1)
    run = tmp_path / "run"
    whole = loop.train(Inputs(tiny_dataset), run, options)
    assert whole is not None
    first = load_generator(whole)[0].state_dict()
    whole.unlink()
    checkpoints(run)[-1].unlink()  # as if it had died after the first step
    assert loop.train(Inputs(tiny_dataset), run, options, resume=True) == whole
    second = load_generator(whole)[0].state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert (run / "pictures" / "step-00000002.jpg").exists()

    formal = resolve({"stage": "pretrain", "steps": 1, "lr": 1e-12, "width": 2, "discriminator_width": 2, "workers": 0})
    result = loop.train(Inputs(tiny_dataset, run), tmp_path / "next", replace(formal, device="cpu"))
    assert result is not None
    weights = load_generator(result)[0].state_dict()
    torch.testing.assert_close(weights["eye_left.down.0.conv.weight"], first["eye_left.down.0.conv.weight"])


def test_discriminators_that_do_not_count_are_left_out(tiny_dataset: Path, tmp_path: Path) -> None:
    small = {"width": 2, "discriminator_width": 2, "device": "cpu", "workers": 0, "steps": 1, "log_every": 1}
    options = resolve({"stage": "pretrain", "adversarial_weight": 0.0, **small})
    assert loop.train(Inputs(tiny_dataset), tmp_path / "run", options) is not None
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert {name for name in line if name.partition("_")[0] in ("D", "G")} == {"G_L1", "G_local", "G"}
    assert line["G"] == pytest.approx(100 * line["G_L1"] + 25 * line["G_local"], rel=1e-3)
    saved = torch.load(checkpoints(tmp_path / "run")[-1], weights_only=True)
    assert set(saved["networks"]) == {"generator"}
    with_them = resolve({"stage": "pretrain", **small})
    assert loop.train(Inputs(tiny_dataset, tmp_path / "run"), tmp_path / "next", with_them) is not None


def test_regions_that_do_not_exist() -> None:
    for regions in ("ears", "nose,ears", ""):
        with pytest.raises(OptionsError, match="regions must be all or some of eye_left, eye_right, nose, mouth"):
            replace(LOCAL, regions=regions)
    with pytest.raises(OptionsError, match="the stage local trains local networks"):
        resolve({"stage": "local", "local_networks": False})
    assert replace(LOCAL, regions="hair,nose").local_regions() == ("nose", "hair")
