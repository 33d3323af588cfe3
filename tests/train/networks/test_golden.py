"""The authors' program, as recorded in the reference folder, against this one."""

import json

import pytest
import torch

from train.author_weights import load_author_generator
from train.losses import (
    cross_entropy,
    discriminator_loss,
    generator_adversarial_loss,
    local_losses,
    pixel_loss,
)
from train.networks import Discriminators, LocalParts, Regions


@pytest.fixture(scope="module")
def generator(golden):
    return load_author_generator(golden.folder)


def assert_like_the_authors(output, index, golden):
    for name, drawing in [
        ("global", output.global_drawing),
        ("local", output.local_drawing),
        ("drawing", output.drawing),
    ]:
        torch.testing.assert_close(drawing[index, 0], golden.outputs[name], atol=1e-4, rtol=0, msg=name)


def test_drawings(generator, golden):
    with torch.inference_mode():
        output = generator(golden.inputs.photo, golden.inputs.landmarks, golden.inputs.mask)
    assert golden.outputs["drawing"].std() > 0.1
    assert_like_the_authors(output, 0, golden)


@pytest.mark.parametrize("place", [0, 2])
def test_drawings_in_a_batch_of_others(generator, golden, inputs, place):
    others, own = inputs(2), golden.inputs
    batch = [
        torch.cat((other[:place], mine, other[place:]))
        for other, mine in [
            (others.photo, own.photo),
            (others.landmarks, own.landmarks),
            (others.mask, own.mask),
        ]
    ]
    with torch.inference_mode():
        output = generator(*batch)
    assert_like_the_authors(output, place, golden)


@pytest.fixture(scope="module")
def discriminators(golden):
    states = torch.load(golden.folder / "latest_net_dis.pt", weights_only=True)
    layers = {"model.0": "first", "model.11": "last"}
    layers |= {f"model.{2 + 3 * n}": f"convs.{n}" for n in range(3)}
    layers |= {f"model.{3 + 3 * n}": f"norms.{n}" for n in range(3)}
    theirs = ["D", "DLEyel", "DLEyer", "DLNose", "DLMouth", "DLHair", "DLBG"]
    ours = ["whole", *(f"parts.{name}" for name in LocalParts._fields)]
    state = {}
    for key, network in zip(theirs, ours, strict=True):
        for name, value in states[key].items():
            layer, _, kind = name.rpartition(".")
            state[f"{network}.{layers[layer]}.{kind}"] = value
    discriminators = Discriminators(8)
    discriminators.load_state_dict(state)
    return discriminators.train()  # as the authors' program computed these


def test_every_loss(generator, discriminators, golden):
    recorded = json.loads((golden.folder / "record.json").read_text())["losses"]
    photo, target = golden.inputs.photo, golden.target
    regions = Regions.of(golden.inputs.landmarks, golden.inputs.mask)
    with torch.inference_mode():
        output = generator(photo, golden.inputs.landmarks, golden.inputs.mask)
        real = discriminators(photo, target, regions)
        fake = discriminators(photo, output.drawing, regions)
        local_adversarial = generator_adversarial_loss(fake, 0.25) - generator_adversarial_loss(fake, 0)
        found = {
            "D_real": sum(cross_entropy(logits, 1.0) for logits in real.values()),
            "D_fake": sum(cross_entropy(logits, 0.0) for logits in fake.values()),
            "D": discriminator_loss(real, fake),
            "G_GAN_global": generator_adversarial_loss(fake, 0),
            "G_GAN_local_x0.25": local_adversarial,
            "G_L1_x100": 100 * pixel_loss(output.drawing, target),
        }
        locals_ = local_losses(output.parts, target, regions)
    short = ["eyel", "eyer", "nose", "mouth", "hair", "bg"]
    found |= {f"G_local_{name}_x25": 25 * loss for name, loss in zip(short, locals_, strict=True)}
    judged = {f"G_GAN_DL{name}" for name in ("Eyel", "Eyer", "Nose", "Mouth", "Hair", "BG")}
    assert found.keys() | judged == recorded.keys()  # nothing recorded is left out
    assert sum(recorded[name] for name in judged) * 0.25 == pytest.approx(local_adversarial.item(), rel=1e-5)
    for name, loss in found.items():
        assert loss.item() == pytest.approx(recorded[name], rel=1e-5), name
