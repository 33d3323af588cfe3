import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from engines.atomic_files import write_atomically
from engines.errors import FileWriteError, ModelError
from train.model_file import (
    load_generator,
    round_to_half,
    save_generator,
    weights_sha256,
)
from train.networks import Generator, GeneratorConfig

ABOUT = {
    "name": "fine lines",
    "version": "3",
    "licence": "CC-BY-4.0",
    "training_data": "eleven portraits",
    "provenance": "trained here",
    "steps": "12",
}


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(GeneratorConfig(3, local_width=2, norm_statistics="photo")).train()


@pytest.fixture
def path(tmp_path, generator):
    save_generator(tmp_path / "model.safetensors", generator, ABOUT)
    return tmp_path / "model.safetensors"


def test_what_is_saved_is_loaded(path, generator):
    loaded, metadata = load_generator(path)
    assert loaded.config == generator.config
    assert not loaded.training
    weights = loaded.state_dict()
    assert weights.keys() == generator.state_dict().keys()
    for name, value in generator.state_dict().items():
        assert torch.equal(weights[name], value)
    assert all(p.requires_grad for p in loaded.parameters())
    assert metadata.items() >= ABOUT.items()
    assert metadata["norm_statistics"] == "photo"
    assert json.loads(metadata["config"])["local_width"] == 2


def test_every_description_is_there_even_if_nobody_gave_it(tmp_path, generator):
    save_generator(tmp_path / "m.safetensors", generator)
    metadata = load_generator(tmp_path / "m.safetensors")[1]
    assert {metadata[key] for key in ("name", "version", "licence", "training_data", "provenance")} == {""}
    assert metadata["format"] == "apdraw-generator"


def test_half_precision_halves_the_file_and_keeps_norms(tmp_path, path, generator):
    half = tmp_path / "half.safetensors"
    save_generator(half, generator, ABOUT, dtype=torch.float16)
    assert half.stat().st_size < 0.6 * path.stat().st_size
    weights = load_generator(half)[0].state_dict()
    for name, value in generator.state_dict().items():
        found = weights[name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value.half().float() if value.dim() == 4 else value), name


def test_the_checksum_is_that_of_the_values(tmp_path, generator):
    single, half = tmp_path / "single.safetensors", tmp_path / "half.safetensors"
    rounded = Generator(generator.config)
    rounded.load_state_dict(generator.state_dict())
    round_to_half(rounded)
    save_generator(single, rounded)
    save_generator(half, generator, dtype=torch.float16)
    checksums = {load_generator(file)[1]["generator_sha256"] for file in (single, half)}
    assert checksums == {weights_sha256(rounded.state_dict())}
    assert checksums != {weights_sha256(generator.state_dict())}


def test_a_weight_too_large_for_half_precision_is_refused(tmp_path):
    generator = Generator(GeneratorConfig(2))
    with torch.no_grad():
        generator.whole.down[1].conv.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ModelError, match=r"whole\.down\.1\.conv\.weight"):
        save_generator(tmp_path / "m.safetensors", generator, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def refusal(path):
    with pytest.raises(ModelError) as error:
        load_generator(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_such_file(tmp_path):
    assert "there is no model" in refusal(tmp_path / "m.safetensors")


def test_a_folder(tmp_path):
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize("size", [0, 7, 500, -1])
def test_files_cut_short(path, size):
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged" in refusal(path)


def test_text(tmp_path):
    (tmp_path / "m.safetensors").write_text("no model at all, only a line of text\n")
    assert "damaged" in refusal(tmp_path / "m.safetensors")


def test_a_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[-5000] ^= 1
    path.write_bytes(content)
    assert "checksum" in refusal(path)


def edited(path, *, drop=(), tensors=(), **metadata):
    """The file written again with changes that its writer would not make."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    about |= metadata
    kept = load_file(path) | dict(tensors)
    save_file({n: v for n, v in kept.items() if n not in drop}, path, {k: v for k, v in about.items() if v})
    return refusal(path)


def test_another_program_s_file(path):
    assert "no generator of this program" in edited(path, format=None)


def test_a_later_format(path):
    assert "format version 2" in edited(path, format_version="2")


def test_a_broken_configuration(path):
    assert "width" in edited(path, config='{"width": -3}')
    assert "not JSON" in edited(path, config="{")


def test_weights_that_do_not_fit(path):
    name = "nose.down.0.conv.weight"
    assert name in edited(path, tensors=[(name, torch.zeros(1))])
    assert name in edited(path, drop=[name])


def test_weights_beyond_the_configuration(path):
    assert "extra" in edited(path, tensors=[("extra", torch.zeros(1))])


def test_a_huge_configuration_takes_no_memory(path):
    assert "do not fit" in edited(path, config='{"width": 1024}')


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engines.atomic_files.os.fsync", fail)
    with pytest.raises(FileWriteError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path, generator):
    with pytest.raises(FileWriteError, match="cannot write"):
        save_generator(tmp_path / "none" / "m.safetensors", generator)
