"""`apdraw convert` with stand-ins for faces and generator, as a program of its own that can be killed.

    python fake_convert.py PHOTOS OUT WORKERS SECONDS [LIMIT VALUE]

SECONDS are those that each drawing takes. LIMIT is a name of the module `resource`, as RLIMIT_NOFILE, and VALUE what it
is set to once all is imported. SHARD in the environment is that option. The line that it prints is the result, as JSON.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

from conversion_fakes import FakeEngine, Recorder, engine_opener, fake_extractor

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.own_process import stop_requests
from engines.errors import ApdrawError


def main() -> None:
    photos, out, workers, seconds, *limits = sys.argv[1:]
    model = Path(photos).parent / "model.onnx"
    if not model.exists():
        model.write_bytes(b"a model")
    if limits:
        import resource

        number = getattr(resource, limits[0])
        resource.setrlimit(number, (int(limits[1]), resource.getrlimit(number)[1]))
    shard = os.environ.get("SHARD")
    options = ConvertOptions.of(
        photos, output=Path(out), model=model, workers=int(workers), time_limit=4.0, shard=shard
    )
    opened = {
        "open_engine": engine_opener(FakeEngine(seconds=float(seconds), batch_size=2)),
        "open_extractor": fake_extractor,
    }
    try:
        with stop_requests() as stop:
            result = convert(options, Recorder(), stop=stop, **opened)
    except ApdrawError as error:
        sys.stdout.write(json.dumps({"exit_code": int(error.exit_code), "error": str(error)}) + "\n")
        sys.exit(error.exit_code)
    sys.stdout.write(json.dumps({**dataclasses.asdict(result), "exit_code": int(result.exit_code)}, default=str) + "\n")
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main()
