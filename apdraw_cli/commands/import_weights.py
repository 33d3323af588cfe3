"""`apdraw import-weights`: a checkpoint in the authors' format becomes a model of this program."""

from dataclasses import dataclass
from pathlib import Path

from apdraw_cli.commands.options import ImportOptions
from engines.errors import UnfitError, UsageError
from engines.installed import pip_install


@dataclass(frozen=True)
class ImportResult:
    """What was imported.

    Attributes:
        model: the file written.
        config: the generator's widths and norm statistics, as one line of JSON.
        parameters: number of weights.
    """

    model: Path
    config: str
    parameters: int


def import_weights(
    checkpoint: Path,
    model: Path,
    options: ImportOptions | None = None,
) -> ImportResult:
    """Reads an author-format checkpoint and writes it as a model file.

    Args:
        checkpoint: a `<epoch>_net_gen.pt` file, or a folder with it or `<epoch>_net_<network>.pth` files.
        model: the `.safetensors` file to write; replaced where it exists.
        options: which epoch, and what the model says of itself.

    Raises:
        UsageError: `model` is no `.safetensors` file.
        UnfitError: torch is missing, or the checkpoint cannot be used.
    """
    options = options or ImportOptions()
    if model.suffix.lower() != ".safetensors":
        raise UsageError(f"cannot write the model to {model}: its name must end in .safetensors")
    try:
        from train.author_weights import load_author_generator
        from train.model_file import save_generator
    except ImportError as error:
        raise UnfitError(f"importing weights needs {error.name}; install it with: {pip_install('torch')}") from error
    generator = load_author_generator(checkpoint, options.epoch)
    description = {
        "name": options.name or model.stem,
        "licence": options.licence,
        "training_data": options.training_data,
        "provenance": f"imported from the author-format checkpoint {checkpoint.resolve().name}",
    }
    save_generator(model, generator, description)
    return ImportResult(model, generator.config.to_json(), sum(p.numel() for p in generator.parameters()))
