"""`apdraw convert` with stand-ins for faces and generator, as a program of its own that can be killed.

    python fake_convert.py PHOTOS OUT WORKERS SECONDS [LIMIT VALUE]

SECONDS are those that each drawing takes. LIMIT is a name of the module `resource`, as RLIMIT_NOFILE, and VALUE what it
is set to once all is imported; for RLIMIT_AS, bytes that the process which reads photos may take more than it has then.
SHARD and TIME_LIMIT in the environment are those options. The line that it prints is the result, as JSON.
"""

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path

from conversion_fakes import FakeEngine, FakeExtractor, Recorder, engine_opener, fake_extractor

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.own_process import stop_requests
from engines.errors import ApdrawError


def limited_extractor(memory: int, options: FaceOptions) -> FakeExtractor:
    """Runs in the process that reads photos."""
    limit_memory(memory)
    return fake_extractor(options)


def limit_memory(more: int) -> None:
    """Lets this process take so many bytes more than it has."""
    import resource

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))


def main() -> None:
    photos, out, workers, seconds, *limits = sys.argv[1:]
    model = Path(photos).parent / "model.onnx"
    if not model.exists():
        model.write_bytes(b"a model")
    if limits and limits[0] != "RLIMIT_AS":
        import resource

        number = getattr(resource, limits[0])
        resource.setrlimit(number, (int(limits[1]), resource.getrlimit(number)[1]))
    shard = os.environ.get("SHARD")
    options = ConvertOptions.of(
        photos,
        output=Path(out),
        model=model,
        workers=int(workers),
        time_limit=float(os.environ.get("TIME_LIMIT", "4")),
        shard=shard,
    )
    opened = {
        "open_engine": engine_opener(FakeEngine(seconds=float(seconds), batch_size=2)),
        "open_extractor": partial(limited_extractor, int(limits[1])) if "RLIMIT_AS" in limits else fake_extractor,
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
