import os
import pickle
import re

import pytest
import torch
from generators import author_states

from engines.errors import ModelError
from train.author_weights import load_author_generator, unet_names
from train.networks import Generator, GeneratorConfig

CONFIG = GeneratorConfig(3, local_width=2, region_width=4, fusion_width=5, norm_statistics="photo")


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return Generator(CONFIG).eval()


@pytest.fixture
def states(original):
    """The generator in the authors' key layout."""
    return author_states(original)


def with_prefix(states):
    return {key: {f"module.{name}": value for name, value in state.items()} for key, state in states.items()}


def save_folder(folder, states, epoch="latest"):
    folder.mkdir(exist_ok=True)
    for key, state in states.items():
        torch.save(state, folder / f"{epoch}_net_{key}.pth")
    return folder


def assert_same(found, original):
    assert found.config == original.config
    assert not found.training
    weights = found.state_dict()
    for name, value in original.state_dict().items():
        assert torch.equal(weights[name], value), name


def test_reads_the_golden_layout_s_names(golden):
    file = torch.load(golden.folder / "latest_net_gen.pt", weights_only=True)
    generator = load_author_generator(golden.folder / "latest_net_gen.pt")
    assert generator.config == GeneratorConfig(8, norm_statistics="photo")
    assert torch.equal(generator.whole.down[0].conv.weight, file["G"]["model.model.0.weight"])
    assert torch.equal(generator.fusion.last.bias, file["GCombine"]["model.7.bias"])


@pytest.mark.parametrize("prefixed", [False, True])
def test_one_file(tmp_path, states, original, prefixed):
    torch.save(with_prefix(states) if prefixed else states, tmp_path / "latest_net_gen.pt")
    assert_same(load_author_generator(tmp_path / "latest_net_gen.pt"), original)
    assert_same(load_author_generator(tmp_path), original)


@pytest.mark.parametrize("prefixed", [False, True])
def test_a_file_a_network(tmp_path, states, original, prefixed):
    folder = save_folder(tmp_path, with_prefix(states) if prefixed else states)
    assert_same(load_author_generator(folder), original)


def test_discriminators_are_left_alone(tmp_path, states, original):
    save_folder(tmp_path, states)
    for name in ("latest_net_D.pth", "latest_net_dis.pt", "latest_net_DLHair.pth", "loss_log.txt"):
        (tmp_path / name).write_bytes(b"not even a checkpoint")
    assert_same(load_author_generator(tmp_path), original)
    torch.save(states | {"D": {}, "DLBG": {}}, tmp_path / "both_net_gen.pt")
    assert_same(load_author_generator(tmp_path / "both_net_gen.pt"), original)


def test_old_torch_files(tmp_path, states, original):
    path = tmp_path / "latest_net_gen.pt"
    torch.save(states, path, _use_new_zipfile_serialization=False)
    assert_same(load_author_generator(path), original)


def test_half_precision_weights_become_single(tmp_path, states):
    for state in states.values():
        state.update({name: value.half() for name, value in state.items() if value.is_floating_point()})
    torch.save(states, tmp_path / "latest_net_gen.pt")
    generator = load_author_generator(tmp_path)
    assert {p.dtype for p in generator.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("epochs", "chosen"),
    [(["5", "20", "100"], "100"), (["300", "latest"], "latest"), (["9", "10", "best"], "10")],
)
def test_latest_or_else_the_highest_epoch(tmp_path, states, epochs, chosen):
    for number, epoch in enumerate(epochs):
        states["GCombine"]["model.7.bias"] = torch.tensor([float(number)])
        torch.save(states, tmp_path / f"{epoch}_net_gen.pt")
    assert load_author_generator(tmp_path).fusion.last.bias.item() == epochs.index(chosen)
    assert load_author_generator(tmp_path, epochs[0]).fusion.last.bias.item() == 0


def assert_refused(path, *mentioned, epoch=None):
    with pytest.raises(ModelError) as error:
        load_author_generator(path, epoch)
    message = str(error.value)
    assert "\n" not in message
    for text in mentioned:
        assert text in message


def test_an_epoch_that_is_not_there(tmp_path, states):
    torch.save(states, tmp_path / "10_net_gen.pt")
    assert_refused(tmp_path, "no epoch 20", "10", epoch="20")
    assert_refused(tmp_path / "10_net_gen.pt", "is a file", epoch="10")


def test_nothing_there(tmp_path):
    assert_refused(tmp_path / "missing", "does not exist")
    assert_refused(tmp_path, "holds no checkpoint")


def test_missing_networks_are_named(tmp_path, states):
    del states["GLHair"], states["GCombine"]
    assert_refused(save_folder(tmp_path / "folder", states), "GLHair, GCombine")
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path / "latest_net_gen.pt", "GLHair, GCombine")


def test_one_network_s_file_alone(tmp_path, states):
    folder = save_folder(tmp_path, states)
    assert_refused(folder / "latest_net_G.pth", "lacks these networks", "name their folder")


def test_unknown_networks_and_weights_are_named(tmp_path, states):
    torch.save(states | {"GLChin": {}}, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path, "GLChin")
    states["GLNose"]["model.extra.weight"] = torch.zeros(1)
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path, "GLNose", "model.extra.weight")


def test_missing_weights_are_named(tmp_path, states):
    del states["GLBG"]["model.model.1.model.6.running_var"]
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path, "GLBG", "model.model.1.model.6.running_var")


def test_wrong_shapes_are_named(tmp_path, states):
    states["GLMouth"]["model.model.3.weight"] = torch.zeros(9, 1, 4, 4)
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path, "GLMouth", "model.model.3.weight", "(9, 1, 4, 4)", "(4, 1, 4, 4)")


def test_eyes_of_two_widths_are_refused(tmp_path, states):
    states["GLEyer"]["model.model.0.weight"] = torch.zeros(7, 3, 4, 4)
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path, "GLEyer", "model.model.0.weight")


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (5000, 3, 4, 4), (3,)])
def test_absurd_widths_are_refused_before_memory_is_taken(tmp_path, states, shape):
    states["G"]["model.model.0.weight"] = torch.zeros(1).expand(shape) if 0 not in shape else torch.zeros(shape)
    torch.save(states, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"G": "text"}, torch.zeros(3)])
def test_other_contents_are_refused(tmp_path, states, content):
    if isinstance(content, dict):
        content = states | content
    torch.save(content, tmp_path / "latest_net_gen.pt")
    assert_refused(tmp_path)


@pytest.mark.parametrize("size", [0, 10, 3000])
def test_damaged_files_are_refused(tmp_path, states, size):
    path = tmp_path / "latest_net_gen.pt"
    torch.save(states, path)
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(path, "checkpoint", path.name)


def test_text_is_refused(tmp_path):
    path = tmp_path / "latest_net_gen.pt"
    path.write_text("<html>404</html>\n" * 50)
    assert_refused(path, "checkpoint")


class Payload:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path, states, save):
    victim = tmp_path / "victim"
    path = tmp_path / "latest_net_gen.pt"
    save(states | {"G": Payload(f"touch {victim}")}, path)
    assert_refused(path, "could run code")
    assert not victim.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert victim.exists()  # it would have


def test_names_follow_the_authors_nesting():
    names = unet_names(8)
    innermost = next(author for author, own in names.items() if own == "down.7.conv")
    assert innermost == "model.model.1" + ".model.3" * 6 + ".model.1"
    assert all(re.fullmatch(r"(down|up)\.[0-7]\.(conv|norm)", own) for own in names.values())
