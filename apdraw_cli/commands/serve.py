"""`apdraw serve`: drawing over HTTP, until it is asked to end."""

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.convert import generator_engine, retinaface_extractor
from apdraw_cli.commands.options import ServeOptions
from apdraw_cli.conversion.options import FaceOptions, FileOptions, PageOptions, check_together
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.serving.application import LOOPBACK, Application
from apdraw_cli.serving.service import DrawingService
from engines.errors import ExitCode, OptionsError, UnfitError, UsageError
from engines.installed import pip_install
from engines.options import EngineOptions, ModelOptions

if TYPE_CHECKING:
    import uvicorn

    from apdraw_cli.conversion.portraits import Extractor
    from engines.base import Engine

BACKLOG: Final = 128
"""Connections that may wait to be taken."""

SPARE_CONNECTIONS: Final = 64


@dataclass(frozen=True)
class ServerOptions:
    """What `apdraw serve` is asked for.

    Attributes:
        serve: where it listens, and what it takes.
        file: what drawings are written as where a request asks for nothing else.
        page: how large they are, likewise.
        faces: which faces become portraits.
        model: which generator draws.
        engine: what draws.
    """

    serve: ServeOptions = field(default_factory=ServeOptions)
    file: FileOptions = field(default_factory=FileOptions)
    page: PageOptions = field(default_factory=PageOptions)
    faces: FaceOptions = field(default_factory=FaceOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        check_together(self.faces, self.file, self.page)
        if self.page.overview:
            raise OptionsError("--overview is a file beside the drawings, which serve does not write: leave it out")


@dataclass(frozen=True)
class ServeResult:
    """What a server did.

    Attributes:
        address: where it listened.
        drawn: photos drawn.
        refused: requests answered with an error.
        seconds: that it ran.
        error: what ended it, if it was not the user; None if nothing did.
    """

    address: str
    drawn: int
    refused: int
    seconds: float
    error: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        return ExitCode.DONE if self.error is None else ExitCode.UNFIT


def serve(
    options: ServerOptions,
    ready: Callable[[str, "Engine"], None],
    *,
    open_engine: "Callable[[EngineOptions, Path], Engine]" = generator_engine,
    open_extractor: "Callable[[FaceOptions], Extractor]" = retinaface_extractor,
) -> ServeResult:
    """Serves until SIGINT or SIGTERM, or until nothing can be drawn any more. Requests that came are answered first.

    Args:
        options: what to do.
        ready: is told the address, and what draws, when photos are taken.
        open_engine: opens the engine.
        open_extractor: opens the face extractor in each worker; can be pickled.

    Raises:
        UnfitError: the extra `serve` is missing, or the model or engine cannot be used.
        UsageError: the address cannot be listened at.
    """
    from engines.select import read_model

    try:
        import python_multipart as multipart_is_there  # noqa: F401
        import starlette as starlette_is_there  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UnfitError(f"serving needs {error.name}; install it with: {pip_install('serve')}") from error

    asked = options.serve
    read_model(options.model.path)
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(_listen(asked.host, asked.port))
        address = _address(listening)
        recipe = Recipe(options.faces, options.file, options.page)
        stop = threading.Event()
        service = DrawingService(
            recipe,
            options.engine,
            options.model.path,
            open_engine,
            open_extractor,
            workers=asked.workers,
            room=asked.queue,
            time_limit=asked.time_limit,
            failed=stop.set,
        )
        opened.callback(service.close)
        application = Application(
            service,
            recipe,
            max_upload=asked.max_upload,
            time_limit=asked.time_limit,
            local=asked.host in LOOPBACK,
        )
        config = uvicorn.Config(
            application.starlette(),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            limit_concurrency=2 * asked.queue + SPARE_CONNECTIONS,
            timeout_graceful_shutdown=math.ceil(asked.time_limit),
        )
        server = uvicorn.Server(config)
        opened.enter_context(_ending(server, stop))
        opened.enter_context(_quiet_ends())
        start = time.perf_counter()
        ready(address, service.engine)
        server.run(sockets=[listening])
        return ServeResult(
            address,
            application.counts.drawn,
            application.counts.refused,
            time.perf_counter() - start,
            None if service.failure is None else str(service.failure),
        )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: there is no such address here, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # else the port is taken for a while after a server ends
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot listen at {host}:{port}: {reason}; choose another --port or --host") from error
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _ending(server: "uvicorn.Server", stop: threading.Event) -> Iterator[None]:
    """Ends a server when an event is set."""

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    watcher = threading.Thread(target=watch, name="watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


@contextlib.contextmanager
def _quiet_ends() -> Iterator[None]:
    """Lets SIGINT and SIGTERM, which uvicorn raises again when it has ended for them, do nothing more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
