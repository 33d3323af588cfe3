"""`apdraw convert`: photos become drawings."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from apdraw_cli import __version__
from apdraw_cli.commands.gallery import check_page, gallery
from apdraw_cli.conversion import conversion
from apdraw_cli.conversion.gather import gather
from apdraw_cli.conversion.listener import Listener, Together
from apdraw_cli.conversion.manifest import History
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.orphans import Orphans
from apdraw_cli.conversion.outcome import ConvertResult
from apdraw_cli.conversion.output import is_own_drawing
from apdraw_cli.conversion.photo_log import PhotoLog
from apdraw_cli.conversion.plan import Planner, Step
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.sources import MANIFEST, SourceSet
from apdraw_cli.conversion.storage import open_storage
from apdraw_cli.conversion.storage.model import fetched_model
from engines.errors import ApdrawError, UnfitError, UsageError
from engines.installed import pip_install
from engines.model_info import sha256
from engines.options import EngineOptions

if TYPE_CHECKING:
    from apdraw_cli.conversion.executors.base import Executor
    from apdraw_cli.conversion.executors.cluster import ClusterExecutor
    from apdraw_cli.conversion.portraits import Extractor
    from engines.base import Engine


def retinaface_extractor(options: FaceOptions) -> "Extractor":
    """Opens the program's own face extractor."""
    from apdraw_cli.faces.extract import PortraitExtractor

    return PortraitExtractor(
        faces=options.faces,
        min_face=options.min_face,
        aligned=options.aligned,
        detector=options.detector,
        strict=options.strict,
    )


def generator_engine(options: EngineOptions, model: Path, stop: threading.Event | None = None) -> "Engine":
    """Opens a model in the engine asked for, or the fastest here; `stop` ends the compilation of an engine.

    Raises:
        EngineError: it cannot be used here.
    """
    from engines.select import open_engine

    return open_engine(
        model,
        engine=options.engine,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        load_module=_torch_module,
        stop=stop,
    )


def convert(
    options: ConvertOptions,
    listener: Listener,
    *,
    stop: threading.Event | None = None,
    open_engine: "Callable[[EngineOptions, Path], Engine] | None" = None,
    open_extractor: "Callable[[FaceOptions], Extractor]" = retinaface_extractor,
    debug: bool = False,
) -> ConvertResult:
    """Draws photos; a photo that cannot be drawn is told of in the result and stops nothing.

    Args:
        options: what to do.
        listener: is told how it goes.
        stop: ends it early when it is set; what is being drawn is finished first.
        open_engine: opens the engine, None for `generator_engine`; is called only if there is something to draw.
        open_extractor: opens the face extractor in each worker; can be pickled.
        debug: let through what libraries print in workers.

    Raises:
        UsageError: a source is missing, or the output folder cannot be used.
        UnfitError: the model cannot be read.
    """
    from apdraw_cli.conversion.executors.local import LocalExecutor

    listener = Together(listener, PhotoLog())
    options = with_model(options)
    sources = _gathered(options)
    if options.run.gallery:
        if sources.manifest != MANIFEST:
            raise UsageError("--gallery is of a folder of drawings: name one with --output")
        check_page(open_storage(str(sources.output)))
    model, checksum = _model(options)
    stop = stop or threading.Event()
    executor: Executor
    if options.run.cluster is not None:
        executor = _on_cluster(options, sources, open_engine or generator_engine, open_extractor)
    else:
        executor = LocalExecutor(
            Recipe.of(options),
            open_storage(str(sources.output), shared=sources.shard is not None),
            lambda: (
                open_engine(options.engine, model) if open_engine else generator_engine(options.engine, model, stop)
            ),
            open_extractor,
            workers=options.run.workers,
            time_limit=options.run.time_limit,
            debug=debug,
        )
    with contextlib.closing(executor):
        result = conversion.run(options, sources, model, checksum, executor, listener, stop)
    return _with_gallery(result, listener, stop) if options.run.gallery else result


def _on_cluster(
    options: ConvertOptions,
    sources: SourceSet,
    open_engine: "Callable[[EngineOptions, Path], Engine]",
    open_extractor: "Callable[[FaceOptions], Extractor]",
) -> "ClusterExecutor":
    from apdraw_cli.conversion.executors.cluster import ClusterExecutor
    from apdraw_cli.conversion.executors.cluster_worker import Order

    order = Order(
        version=__version__,
        recipe=Recipe.of(options),
        output=str(sources.output),
        model=replace(options.model, model=options.model.model and options.model.path.absolute()),
        model_file_sha256=sha256(options.model.path),
        engine=options.engine,
        open_engine=open_engine,
        open_extractor=open_extractor,
        workers=options.run.workers,
        time_limit=options.run.time_limit,
    )
    return ClusterExecutor(str(options.run.cluster), order)


def _with_gallery(result: ConvertResult, listener: Listener, stop: threading.Event) -> ConvertResult:
    """Writes the gallery of what was drawn, unless the conversion ended early."""

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        listener.picturing(done, total)

    if result.interrupted or result.error is not None or not open_storage(str(result.output)).exists(MANIFEST):
        return result
    try:
        return replace(result, gallery=gallery(Path(result.output), progress=progress).page)
    except KeyboardInterrupt:
        return replace(result, interrupted=True)
    except ApdrawError as error:
        return replace(result, error=str(error))


class Plan:
    """What `convert` would do; nothing is written. A context: what it knows of earlier runs is let go of at its end.

    Args:
        options: options of the conversion.

    Attributes:
        passed_over: what was found beside the photos, as far as the steps were asked for.

    Raises:
        UsageError: a source is missing, or the output folder cannot be used.
        UnfitError: the model cannot be read.
    """

    def __init__(self, options: ConvertOptions) -> None:
        options = with_model(options)
        sources = _gathered(options)
        self._output = open_storage(str(sources.output))
        self._history = history = History(self._output, sources.manifest)
        self._planner = Planner(options, sources, history, _model(options)[1])
        self._orphans = Orphans(sources, history, several=Recipe.of(options).several)
        self.passed_over = self._planner.passed_over

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._history.close()

    def steps(self) -> Iterator[Step]:
        """What would be done with each photo."""
        return self._orphans.noting(self._planner.steps(), drawn=False)

    def orphans(self) -> Iterator[str]:
        """The drawings that `--prune` would remove, once all steps were asked for."""
        return (name for name in self._orphans.found(self._output) if is_own_drawing(self._output, name))


def with_model(options: ConvertOptions) -> ConvertOptions:
    """Options with a model that is on this machine.

    Raises:
        ModelError: it is in a bucket, and cannot be read.
    """
    address = options.model.model
    if not isinstance(address, str):
        return options
    return replace(options, model=replace(options.model, model=fetched_model(address)))


def _gathered(options: ConvertOptions) -> SourceSet:
    return gather(
        options.sources,
        options.listed,
        options.output,
        follow_links=options.run.follow_links,
        exclude=options.run.exclude,
        shard=options.run.part,
    )


def check_model(options: ConvertOptions) -> None:
    """Makes sure, before anything is written, that the model is one.

    Raises:
        UnfitError: it is missing, damaged, or no generator of this program.
    """
    from engines.select import read_model

    read_model(with_model(options).model.path)


def _model(options: ConvertOptions) -> tuple[Path, str]:
    """The generator's file and its checksum."""
    from engines.select import model_sha256

    return options.model.path, model_sha256(options.model.path)


def _torch_module(model: Path, half: bool = False) -> Any:
    """Reads a model for the torch engine, which knows nothing of its networks; with `half` it computes in float16."""
    try:
        from train.export.half import in_half
        from train.model_file import load_generator
        from train.networks.graph import DrawingGraph
    except ImportError as error:
        raise UnfitError(f"reading it needs {error.name}; install it with: {pip_install('torch')}") from error
    generator = load_generator(model)[0]
    if half:
        generator = in_half(generator, [name for name, _ in generator.named_children()])
    return DrawingGraph(generator)
