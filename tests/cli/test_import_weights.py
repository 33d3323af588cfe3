"""`apdraw import-weights`: what is taken from a checkpoint of the authors, and what is refused."""

import pytest

from apdraw_cli.commands.import_weights import import_weights
from apdraw_cli.commands.options import ImportOptions
from engines.errors import UnfitError, UsageError
from train.model_file import load_generator


def test_an_epoch_can_be_chosen(shared, tmp_path):
    folder = shared / "golden" / "author_model"
    import_weights(folder, tmp_path / "m.safetensors", ImportOptions(epoch="latest", name="mine", licence="CC0-1.0"))
    metadata = load_generator(tmp_path / "m.safetensors")[1]
    assert (metadata["name"], metadata["licence"]) == ("mine", "CC0-1.0")
    with pytest.raises(UnfitError, match="no epoch 7"):
        import_weights(folder, tmp_path / "m.safetensors", ImportOptions(epoch="7"))


def test_a_bad_checkpoint_is_an_error_of_the_model(tmp_path):
    with pytest.raises(UnfitError, match="does not exist"):
        import_weights(tmp_path / "none", tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "model.onnx", "model.pt"])
def test_import_writes_safetensors_only(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.safetensors"):
        import_weights(tmp_path, tmp_path / name)
