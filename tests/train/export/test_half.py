"""Half precision: where it is computed, that it keeps the drawing, and that overflow does not go unnoticed."""

import copy

import numpy as np
import pytest
import torch

from engines.errors import ModelError
from engines.portrait import PortraitBatch
from engines.synthetic import synthetic_portraits
from train.export import half as precision
from train.export.half import LARGEST_DIFFERENCE, MEAN_DIFFERENCE, _fold_norms, halved, in_half, largest_difference
from train.networks import Generator, GeneratorConfig
from train.networks.graph import DrawingGraph
from train.networks.norm import Norm
from train.samples import sample_portraits

UNETS = ("whole", "eye_left", "eye_right", "nose", "mouth", "hair", "background")


@pytest.fixture(scope="module")
def one():
    return sample(0)


def sample(index):
    return PortraitBatch(*(array[index : index + 1] for array in sample_portraits().inputs().values()))


def draw(generator, portraits):
    with torch.inference_mode():
        return DrawingGraph(generator)(*(torch.from_numpy(a) for a in portraits.inputs().values())).numpy()


@pytest.fixture(scope="module")
def timid_generator():
    """Fresh weights, whose drawings have little contrast: half precision changes nothing that is seen."""
    torch.manual_seed(0)
    return Generator(GeneratorConfig(3, norm_statistics="photo")).eval()


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]


def test_the_samples_are_aligned_portraits_of_people():
    portraits = sample_portraits()
    assert portraits.photo.shape == (2, 512, 512, 3)
    assert portraits.photo.dtype == portraits.mask.dtype == np.uint8
    assert portraits.landmarks.dtype == np.float32
    assert all(0.3 < (mask == 255).mean() < 0.95 for mask in portraits.mask)
    # An astronaut in an orange suit: red, green and blue are in this order.
    assert portraits.photo[0, -40:, 60:120].mean(axis=(0, 1)).argmax() == 0


def test_half_is_all_but_the_first_convolutions_of_the_networks_named(timid_generator):
    half = in_half(timid_generator, ("hair", "fusion"))
    for name, network in half.named_children():
        first, *others = [c.weight.dtype for c in convolutions(network)]
        assert first == torch.float32
        assert {*others} == {torch.float16 if name in ("hair", "fusion") else torch.float32}
        norms = [m for m in network.modules() if isinstance(m, Norm)]
        assert {norm.weight.dtype for norm in norms} == {torch.float32}
    assert all(c.weight.dtype == torch.float32 for c in convolutions(timid_generator))


def test_drawings_and_activations_are_in_the_types_that_they_should_be(timid_generator, one):
    half = in_half(timid_generator, ("whole", "fusion"))
    seen = {}
    for name, module in half.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.__setitem__(name, output))
    draw(half, one)
    assert seen["whole"].dtype == seen["hair"].dtype == seen["fusion"].dtype == torch.float32
    assert seen["whole.down.0.conv"].dtype == seen["whole.down.3.norm"].dtype == torch.float16
    assert seen["whole.up.0.conv"].dtype == seen["fusion.last"].dtype == torch.float32  # under the tanh
    assert seen["fusion.blocks"].dtype == torch.float16
    assert seen["hair.down.1.conv"].dtype == torch.float32


def test_running_statistics_become_part_of_the_convolutions(lively_generator, one):
    generator = lively_generator(statistics="running")
    folded = copy.deepcopy(generator)
    for network in folded.children():
        _fold_norms(network)
    assert not [m for m in folded.modules() if isinstance(m, Norm)]
    assert np.abs(draw(folded, one).astype(int) - draw(generator, one)).max() <= 1
    kept = lively_generator(statistics="photo")
    _fold_norms(kept.whole)
    assert [m for m in kept.whole.modules() if isinstance(m, Norm)]


@pytest.mark.parametrize("offset", [0.0, 3.0, -12.0])
def test_norms_written_out_normalise_as_before(offset):
    """The convolution before takes the usual mean away, so that variances come out though they are differences."""
    torch.manual_seed(0)
    convolution, norm = torch.nn.Conv2d(3, 6, 3, bias=False), Norm(6, "photo").eval()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    photo = torch.rand(2, 3, 40, 40) + offset
    photo[1, :, 10:] = 0.001 * photo[1, :, 10:] + offset  # nearly one colour
    inputs = convolution(photo)
    network = torch.nn.Sequential(precision._Convolution(copy.deepcopy(convolution), torch.float32), norm)
    wanted = network(photo)
    precision.write_out_norms(network, {"1": inputs.mean(dim=(0, 2, 3))})
    assert not [m for m in network.modules() if isinstance(m, Norm)]
    assert (network(photo) - wanted).abs().max() < 1e-3
    usual_mean = network[0](photo).mean(dim=(0, 2, 3))
    assert usual_mean.abs().max() < 1e-4


def test_the_means_of_norms_are_found_while_drawing(timid_generator, one):
    with precision._means(timid_generator) as means:
        draw(timid_generator, one)
    norms = {name for name, m in timid_generator.named_modules() if isinstance(m, Norm)}
    assert {*means} == norms
    half = in_half(timid_generator, ("fusion",))
    precision.write_out_norms(half.fusion, {name.removeprefix("fusion."): mean for name, mean in means.items()})
    assert not [m for m in half.fusion.modules() if isinstance(m, Norm)]
    assert np.abs(draw(half, one).astype(int) - draw(timid_generator, one)).max() <= 1


def test_all_of_a_generator_that_half_precision_keeps_is_halved(timid_generator, one):
    found = halved(timid_generator, one)
    assert found.networks == (*UNETS, "fusion")
    assert found.complete
    assert found.largest <= 1
    assert 0 < found.peak < 65504


@pytest.mark.parametrize("harmful", ["whole", "hair"])
def test_what_changes_the_drawing_stays_in_single_precision(timid_generator, one, monkeypatch, harmful):
    torch.manual_seed(1)
    other = Generator(timid_generator.config).eval()
    with torch.no_grad():
        other.fusion.last.bias.fill_(0.3)

    def harmed(generator, networks):
        return in_half(other if harmful in networks else generator, networks)

    monkeypatch.setattr(precision, "in_half", harmed)
    found = halved(timid_generator, one)
    assert found.networks == ((*UNETS[1:], "fusion") if harmful == "whole" else ("fusion",))
    assert not found.complete


def test_what_half_precision_changes_altogether_is_refused(timid_generator, one):
    generator = copy.deepcopy(timid_generator)
    with torch.no_grad():  # nearly black and white
        generator.fusion.last.weight.mul_(2000)
    with pytest.raises(ModelError, match=r"differ by up to \d+ grey levels.*; use --precision fp32"):
        halved(generator, one)


@pytest.mark.parametrize("place", ["whole.down.2.conv", "fusion.blocks.1.second", "hair.up.1.conv"])
@pytest.mark.parametrize("how", ["activation", "weight"])
def test_overflow_is_noticed_and_named(timid_generator, one, place, how):
    generator = copy.deepcopy(timid_generator)
    with torch.no_grad():
        weight = generator.get_submodule(place).weight
        if how == "weight":
            weight[0, 0, 0, 0] = 1e5
        else:  # each weight fits, and the norm behind it hides the size: the drawing stays the same in float32
            weight.mul_(30000 / weight.abs().max())
    assert np.isfinite(draw(generator, one)).all()
    with pytest.raises(ModelError, match=rf"overflow half precision in {place}"):
        halved(generator, one)


@pytest.mark.parametrize(
    ("name", "statistics"),
    [
        ("shipped", "photo"),
        pytest.param("shipped", "running", marks=pytest.mark.slow),
        pytest.param("authors", "photo", marks=pytest.mark.slow),
        pytest.param("authors", "running", marks=pytest.mark.slow),
    ],
)
def test_shipped_and_author_weights_keep_their_drawings(name, statistics, generators):
    chosen, _ = generators.generator(name, statistics)
    batches = (sample_portraits().inputs(), synthetic_portraits(2).inputs())  # as an export does
    found = generators.halved(chosen, PortraitBatch(*(np.concatenate([b[k] for b in batches]) for k in batches[0])))
    assert "fusion" in found.networks
    assert found.complete or name == "authors"
    assert "whole" not in found.networks or (name, statistics) != ("authors", "photo")
    assert found.peak < 65504 / 8
    for portraits in (synthetic_portraits(1, seed=5), synthetic_portraits(2, seed=6)):  # others than it was tried on
        differences = np.abs(draw(found.generator, portraits).astype(int) - draw(chosen, portraits))
        assert largest_difference(differences) <= LARGEST_DIFFERENCE
        assert differences.mean() <= MEAN_DIFFERENCE
