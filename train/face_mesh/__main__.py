"""Trains the face mesh network on a prepared data set, and writes it."""

import argparse
import json
from pathlib import Path

from engines.errors import ApdrawError
from train.face_mesh.training import evaluate, export, load, train


def main() -> None:
    """Trains, measures and writes the face mesh network."""
    parser = argparse.ArgumentParser(prog="python -m train.face_mesh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--license", help="written into the file")
    parser.add_argument("--training-data", help="written into the file")
    options = parser.parse_args()
    try:
        data = load(options.dataset, "train")
        network = train(data, steps=options.steps, batch_size=options.batch_size, seed=options.seed)
        told = {"license": options.license, "training_data": options.training_data}
        export(network, options.output, {key: value for key, value in told.items() if value})
        print(json.dumps(evaluate(network, load(options.dataset, "val"))))  # noqa: T201
    except (ApdrawError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
