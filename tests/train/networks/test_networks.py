import copy
import dataclasses
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from train.networks import Discriminators, Generator, GeneratorConfig, Regions
from train.networks.discriminators import PatchDiscriminator
from train.networks.fast_layers import Dropout, OneChannelConv, OneChannelUp
from train.networks.graph import DrawingGraph
from train.networks.norm import Norm, freeze_norms, measure_norms, photo_norm


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_paper_s_sizes():
    with torch.device("meta"):
        generator = Generator(GeneratorConfig())
    assert round(parameters(generator.whole) / 1e6, 1) == 54.4
    for network in (generator.eye_left, generator.eye_right, generator.nose, generator.mouth):
        assert round(parameters(network) / 1e6, 2) == 1.45
    for network in (generator.hair, generator.background):
        assert round(parameters(network) / 1e6, 2) == 1.71
    assert round(parameters(generator.fusion) / 1e6, 2) == 0.16


def test_only_last_layers_have_biases_beside_norms():
    with torch.device("meta"):
        generator, discriminators = Generator(GeneratorConfig(4)), Discriminators(4)
    convolutions = {
        name
        for network in (generator, discriminators)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None
    }
    unets = {f"{name}.up.0.conv" for name, _ in generator.named_children() if name != "fusion"}
    judges = ["whole", *(f"parts.{name}" for name in discriminators.parts)]
    assert convolutions == unets | {"fusion.last"} | {f"{j}.{layer}" for j in judges for layer in ("first", "last")}


def test_widths_are_independent(inputs):
    generator = Generator(GeneratorConfig(3, local_width=2, region_width=5, fusion_width=4)).eval()
    assert [generator.whole.down[0].conv.out_channels, generator.mouth.down[0].conv.out_channels] == [3, 2]
    assert [generator.hair.down[0].conv.out_channels, generator.fusion.first.out_channels] == [5, 4]
    some = inputs(2)
    with torch.inference_mode():
        output = generator(some.photo, some.landmarks, some.mask)
    for drawing in (output.drawing, output.global_drawing, output.local_drawing, output.parts.hair):
        assert drawing.shape == (2, 1, 512, 512)
        assert drawing.abs().max() <= 1
    assert [tuple(part.shape[2:]) for part in output.parts] == [
        (80, 112), (80, 112), (96, 96), (80, 128), (512, 512), (512, 512),
    ]  # fmt: skip


def test_initialisation():
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(16))
    weights = torch.cat([m.weight.flatten() for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)])
    assert weights.mean().abs() < 1e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    norms = torch.cat([m.weight for m in generator.modules() if isinstance(m, Norm)])
    assert norms.mean().item() == pytest.approx(1, abs=0.003)
    assert norms.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(m.bias.eq(0).all() for m in generator.modules() if getattr(m, "bias", None) is not None)


def test_norm_with_running_statistics_trains_as_batch_norm_does():
    torch.manual_seed(0)
    norm, plain = Norm(6, "running"), nn.BatchNorm2d(6)
    x = torch.randn(3, 6, 5, 7) * 3 + 2
    assert torch.equal(norm(x), plain(x))
    assert torch.equal(norm.running_var, plain.running_var)
    assert norm.running_mean.abs().max() > 0


def test_norm_with_photo_statistics_trains_as_it_draws():
    torch.manual_seed(0)
    norm, plain = Norm(6, "photo"), nn.BatchNorm2d(6)
    x = torch.randn(3, 6, 5, 7) * 3 + 2
    trained = norm(x)
    torch.testing.assert_close(trained, torch.cat([plain(photo) for photo in x.split(1)]))
    torch.testing.assert_close(trained, norm.eval()(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_photos_are_normalised_at_once_as_one_by_one(dtype, error, layout):
    """What a GPU trains with."""
    torch.manual_seed(0)
    spread = torch.tensor([0.1, 1, 30])[:, None, None, None]
    x = (torch.randn(3, 6, 16, 12) * spread + 5).to(dtype).contiguous(memory_format=layout)
    slope = torch.randn(x.shape).to(dtype)
    plain = nn.BatchNorm2d(6)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)

    def once(norm):
        photos = x.clone().requires_grad_()
        plain.zero_grad()
        found = norm(photos)
        found.backward(slope)
        return found, photos.grad, plain.weight.grad.clone(), plain.bias.grad.clone()

    wanted = once(lambda photos: torch.cat([plain(photo) for photo in photos.split(1)]))
    found = once(lambda photos: photo_norm(photos, plain.weight, plain.bias, plain.eps))
    assert found[0].dtype == found[1].dtype == dtype
    assert found[0].is_contiguous(memory_format=layout)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=error, rtol=error)


def test_norm_with_running_statistics_uses_them():
    norm = Norm(2, "running").eval()
    norm.running_mean.fill_(3)
    norm.running_var.fill_(4)
    torch.testing.assert_close(norm(torch.full((1, 2, 2, 2), 7.0)), torch.full((1, 2, 2, 2), 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_with_photo_statistics_sees_one_photo(dtype):
    torch.manual_seed(0)
    norm = Norm(6, "photo").eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (torch.randn(3, 6, 16, 16) * torch.tensor([0.1, 1, 30])[:, None, None, None] + 5).to(dtype)
    found = norm(x)
    assert found.dtype == dtype
    wanted = F.instance_norm(x.float(), weight=norm.weight, bias=norm.bias).to(dtype)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(norm(x[1:2]), found[1:2])


def test_the_fusion_can_have_statistics_of_its_own():
    generator = Generator(GeneratorConfig(2, norm_statistics="photo", fusion_statistics="running"))
    norms = {name: module for name, module in generator.named_modules() if isinstance(module, Norm)}
    for name, norm in norms.items():
        assert norm.statistics == ("running" if name.startswith("fusion") else "photo")


def test_frozen_norms_keep_what_was_measured(inputs):
    generator = Generator(GeneratorConfig(2, norm_statistics="photo", fusion_statistics="running")).train()
    some = inputs(2)
    portraits = list(zip(some.photo, some.landmarks, some.mask, strict=True))
    norm, means = generator.fusion.norm, []
    handle = norm.register_forward_pre_hook(lambda module, given: means.append(given[0].mean((0, 2, 3)).detach()))
    measure_norms(generator, portraits)
    handle.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))

    freeze_norms(generator)
    kept = norm.running_mean.clone()
    generator.eval().train()
    assert not norm.training
    assert generator.whole.down[1].norm.training
    generator(some.photo, some.landmarks, some.mask).drawing.mean().backward()
    assert torch.equal(norm.running_mean, kept)
    assert norm.weight.grad.abs().sum() > 0


def test_dropout_is_active_only_in_training(lively_generator, inputs):
    generator, some = lively_generator(statistics="photo"), inputs(1)
    arguments = (some.photo, some.landmarks, some.mask)
    with torch.inference_mode():
        assert torch.equal(generator(*arguments).drawing, generator(*arguments).drawing)
        generator.train()
        torch.manual_seed(1)
        first, second = generator(*arguments), generator(*arguments)
    for name in ("global_drawing", "drawing"):
        assert (getattr(first, name) - getattr(second, name)).abs().max() > 0.01
    for name in ("hair", "background"):
        assert (getattr(first.parts, name) - getattr(second.parts, name)).abs().max() > 0.01
    for name in ("eye_left", "eye_right", "nose", "mouth"):  # these networks have none
        assert torch.equal(getattr(first.parts, name), getattr(second.parts, name))


@pytest.mark.parametrize("statistics", ["photo", "running"])
def test_a_drawing_does_not_depend_on_its_batch(lively_generator, inputs, statistics):
    generator, some = lively_generator(statistics=statistics), inputs(3)
    with torch.inference_mode():
        together = generator(some.photo, some.landmarks, some.mask).drawing
        alone = [
            generator(some.photo[i : i + 1], some.landmarks[i : i + 1], some.mask[i : i + 1]).drawing for i in range(3)
        ]
    assert together.std() > 0.05
    assert (together[0] - together[1]).abs().max() > 0.1
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-4, rtol=0)


def test_every_network_learns(inputs):
    torch.manual_seed(0)
    generator, some = Generator(GeneratorConfig(2)), inputs(1)
    with torch.autocast("cpu", torch.bfloat16):
        output = generator(some.photo, some.landmarks, some.mask)
    output.drawing.float().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []
    for name, network in generator.named_children():
        total = sum(p.grad.abs().sum() for p in network.parameters())
        assert 0 < total < float("inf"), name


def test_patch_discriminator_looks_at_70_pixels():
    torch.manual_seed(0)
    judge = PatchDiscriminator(2).eval()
    for norm in judge.norms:
        norm.statistics = "running"  # a photo's own would let every pixel have a little say
    pair = torch.zeros(1, 4, 256, 256, requires_grad=True)
    logits = judge(pair)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    seen = pair.grad[0].abs().sum(0).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [70, 70]


def test_discriminators_judge_each_region(inputs):
    torch.manual_seed(0)
    some = inputs(2)
    judges = Discriminators(2)
    drawing = some.photo[:, :1]
    logits = judges(some.photo, drawing, Regions.of(some.landmarks, some.mask))
    assert logits.pop("whole").shape == (2, 1, 62, 62)
    assert [tuple(patches.shape) for patches in logits.values()] == [
        (2, 1, 8, 12), (2, 1, 8, 12), (2, 1, 10, 10), (2, 1, 8, 14), (2, 1, 62, 62), (2, 1, 62, 62),
    ]  # fmt: skip


def test_graph_takes_and_returns_bytes(lively_generator, inputs):
    generator, some = lively_generator(statistics="photo"), inputs(2)
    photo = ((some.photo + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    with torch.inference_mode():
        found = DrawingGraph(generator)(photo, some.landmarks, (some.mask[:, 0] * 255).to(torch.uint8))
        wanted = generator(some.photo, some.landmarks, some.mask).drawing[:, 0]
    assert found.dtype == torch.uint8
    assert found.shape == (2, 512, 512)
    assert (found.float() - (wanted + 1) * 127.5).abs().max() <= 0.51


def test_graph_takes_masks_from_128_on(lively_generator, inputs):
    graph, some = DrawingGraph(lively_generator(statistics="photo")), inputs(1)
    photo = ((some.photo + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1)
    hard = (some.mask[:, 0] * 255).to(torch.uint8)
    soft = torch.where(hard > 0, 128, 127).to(torch.uint8)
    with torch.inference_mode():
        assert torch.equal(graph(photo, some.landmarks, hard), graph(photo, some.landmarks, soft))


class TestConfig:
    def test_left_out_widths_follow_the_first(self):
        assert GeneratorConfig(24, region_width=16) == GeneratorConfig(24, 24, 16, 24, "running")
        assert GeneratorConfig().fusion_width == 64
        assert GeneratorConfig(24, region_width=16).background_width == 16
        assert GeneratorConfig(8, norm_statistics="photo").fusion_statistics == "photo"

    def test_goes_through_json_and_back(self):
        config = GeneratorConfig(12, 8, 6, 4, "photo")
        assert GeneratorConfig.from_json(config.to_json()) == config
        assert json.loads(config.to_json()) == dataclasses.asdict(config)
        assert GeneratorConfig.from_json('{"width": 8}') == GeneratorConfig(8)

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("", "not JSON"),
            ("[1]", "not a JSON object"),
            ('{"width": 8, "depth": 3}', "depth"),
            ('{"width": 0}', "width"),
            ('{"width": true}', "width"),
            ('{"width": 1e9}', "width"),
            ('{"width": 8, "local_width": "8"}', "local_width"),
            ('{"norm_statistics": "batch"}', "norm_statistics"),
            ('{"fusion_statistics": 1}', "fusion_statistics"),
        ],
    )
    def test_refuses_what_it_does_not_know_in_one_line(self, text, named):
        with pytest.raises(ValueError, match=named) as error:
            GeneratorConfig.from_json(text)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(12, 16), (63, 9), (8, 21)])
@pytest.mark.parametrize("own", [OneChannelConv(6, 4, padding=1), OneChannelConv(6, 7, 3, "reflect"), OneChannelUp(6)])
def test_one_channel_is_computed_in_blocks_with_the_same_result(own, size):
    if isinstance(own, OneChannelUp):
        plain = torch.nn.ConvTranspose2d(6, 1, 4, stride=2, padding=1)
        size = tuple(2 * s for s in size)
    else:
        plain = torch.nn.Conv2d(6, 1, own.kernel_size, padding=own.padding, padding_mode=own.padding_mode)
    plain.load_state_dict(own.state_dict())
    x = torch.randn(2, 6, *size)
    found, wanted = own(x), plain(x)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(wanted)
    for layer, y in ((own, found), (plain, wanted)):
        layer.zero_grad()
        (y * weights).sum().backward()
    for one, other in zip(own.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-4)
    settled = copy.deepcopy(own)
    settled.settle()
    assert torch.equal(settled(x), found)
    assert settled.state_dict().keys() == plain.state_dict().keys()


def test_dropout_drops_half_and_doubles_the_rest():
    x = torch.ones(2, 5, 33, 21).to(memory_format=torch.channels_last).requires_grad_()
    y = Dropout()(x)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert 0.45 < (y == 0).float().mean() < 0.55
    assert not torch.equal(y[0], y[1])
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert Dropout()(x.to(torch.bfloat16)).dtype == torch.bfloat16
    assert torch.equal(Dropout().eval()(x), x)
