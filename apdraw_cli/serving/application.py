"""The HTTP interface: what is sent and answered. Every error is one line of JSON, with a code and a message."""

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import AsyncGenerator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from apdraw_cli import __version__
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.pipeline import reason_of
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render
from apdraw_cli.serving.openapi import description
from apdraw_cli.serving.requests import JSON, Wanted, media_type, wanted
from apdraw_cli.serving.service import DrawingService, Drawn, FullError
from engines.errors import ApdrawError, OptionsError, PhotoError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

STATUS_OF: Final = {
    "too_large": 413,
    "not_an_image": 415,
    "unsupported": 415,
    "needs_heif": 415,
    "internal": 500,
    "out_of_memory": 503,
}
"""By the code of what is wrong with a photo; 422 for all others."""

RETRY_SECONDS: Final = 2

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

MARGIN: Final = 64 * 1024
"""Bytes that a form may have around the photo."""


class RefusedError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: status code of HTTP.
        code: a short word for scripts.
        message: one line for people.
        headers: headers of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


@dataclasses.dataclass
class Counts:
    """What a service has answered so far.

    Attributes:
        drawn: photos.
        refused: photos that could not be drawn, and requests that made no sense.
    """

    drawn: int = 0
    refused: int = 0


class Application:
    """The HTTP interface of a service.

    Args:
        service: draws.
        recipe: what drawings look like where a request asks for nothing else.
        max_upload: megabytes that a photo may have.
        time_limit: seconds that a request may take.
        local: it listens on this machine only, so that no other name of it is answered.

    Attributes:
        counts: what was answered.
    """

    def __init__(
        self,
        service: DrawingService,
        recipe: Recipe,
        *,
        max_upload: float,
        time_limit: float,
        local: bool = True,
    ) -> None:
        self._service = service
        self._recipe = recipe
        self._megabytes = max_upload
        self._most_bytes = int(max_upload * 1e6)
        self._time_limit = time_limit
        self._local = local
        self.counts = Counts()

    def starlette(self) -> "Starlette":
        """The application for a server."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/", self._docs),
                Route("/docs", self._docs),
                Route("/openapi.json", self._openapi),
                Route("/health", self._health),
                Route("/draw", self._draw, methods=["POST"]),
            ],
            # Else a page of the web could have its own name lead here, and read the answers.
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])] if self._local else [],
            exception_handlers={RefusedError: self._answer_refused, HTTPException: self._answer_http_error},
        )

    async def _draw(self, request: "Request") -> "Response":
        from starlette.responses import Response

        asked = self._wanted(request)
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._time_limit):
                data = await self._photo(request)
        except TimeoutError as error:
            raise RefusedError(
                408, "time_limit", f"the photo did not arrive in {self._time_limit:g} seconds"
            ) from error
        try:
            async with asyncio.timeout(self._time_limit - (time.monotonic() - start)):
                drawn = await self._drawn(data, asked)
                pages = await asyncio.to_thread(self._files, drawn, asked)
        except TimeoutError as error:
            raise RefusedError(504, "time_limit", f"it was not drawn in {self._time_limit:g} seconds") from error
        except PhotoError as error:
            raise RefusedError(STATUS_OF.get(error.code, 422), error.code, error.message) from error
        self.counts.drawn += 1
        if asked.as_json:
            return Response(_line(self._object(drawn, pages, asked)), media_type=JSON)
        headers = {"X-Apdraw-Warnings": ",".join(each.code for each in drawn.prepared.warnings)}
        return Response(
            pages[0], media_type=media_type(asked.recipe.format), headers={k: v for k, v in headers.items() if v}
        )

    def _wanted(self, request: "Request") -> Wanted:
        try:
            return wanted(request.query_params, request.headers.get("accept", ""), self._recipe)
        except OptionsError as error:
            raise RefusedError(400, "options", str(error)) from error

    async def _photo(self, request: "Request") -> bytes:
        """The photo in a request: its whole body, or the first file of a form."""
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"
        most = self._most_bytes + (MARGIN if form else 0)
        if int(request.headers.get("content-length") or 0) > most:
            raise self._too_large()
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise self._too_large()
        data = await _file_of_form(request, bytes(body)) if form else bytes(body)
        if not data:
            raise RefusedError(411, "empty", "there is no photo: POST the bytes of its file, or a form with it")
        if len(data) > self._most_bytes:
            raise self._too_large()
        return data

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "too_large", f"photos may have {self._megabytes:g} MB here")

    async def _drawn(self, data: bytes, asked: Wanted) -> Drawn:
        try:
            return await asyncio.wrap_future(self._service.draw(data, keep_photo=asked.recipe.shows_photo))
        except FullError as error:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise RefusedError(503, "full", "too many photos are waiting: try again soon", headers) from error
        except ApdrawError as error:
            raise RefusedError(503, "unfit", str(error)) from error

    def _files(self, drawn: Drawn, asked: Wanted) -> list[bytes]:
        recipe = asked.recipe
        try:
            pages = render(drawn.drawings, drawn.prepared, recipe)
            return [FORMATS[recipe.format].encode(page, recipe) for page in pages]
        except Exception as error:
            raise reason_of(error) from error

    def _object(self, drawn: Drawn, pages: list[bytes], asked: Wanted) -> dict[str, Any]:
        prepared = drawn.prepared
        return {
            "apdraw": __version__,
            "photo_size": prepared.photo_size,
            "faces": [
                {
                    "box": [round(float(value), 2) for value in each.face.box],
                    "score": round(float(each.face.score), 4),
                    "landmarks": [[round(float(value), 2) for value in point] for point in each.face.landmarks],
                }
                for each in prepared.portraits
            ],
            "transform": [
                [[round(float(value), 6) for value in row] for row in each.transform] for each in prepared.portraits
            ],
            "warnings": [{"code": each.code, "message": each.message} for each in prepared.warnings],
            "drawings": [
                {"media_type": media_type(asked.recipe.format), "base64": base64.b64encode(page).decode()}
                for page in pages
            ],
            "seconds": {stage: round(seconds, 4) for stage, seconds in drawn.seconds.items()},
        }

    async def _health(self, request: "Request") -> "Response":
        from starlette.responses import Response

        service = self._service
        if service.failure is not None:
            raise RefusedError(503, "unfit", str(service.failure))
        told = {
            "status": "ok",
            "apdraw": __version__,
            "engine": service.engine.name,
            "device": service.engine.device,
            "precision": service.engine.precision,
            "waiting": service.waiting,
            **dataclasses.asdict(self.counts),
        }
        return Response(_line(told), media_type=JSON)

    async def _openapi(self, request: "Request") -> "Response":
        from starlette.responses import Response

        return Response(_line(description(self._megabytes)), media_type=JSON)

    async def _docs(self, request: "Request") -> "Response":
        from starlette.responses import HTMLResponse

        return HTMLResponse((files("apdraw_cli.serving") / "docs.html").read_text(encoding="utf-8"))

    async def _answer_refused(self, request: "Request", error: Exception) -> "Response":
        assert isinstance(error, RefusedError)
        return self._refused(error.status, error.code, error.message, error.headers)

    async def _answer_http_error(self, request: "Request", error: Exception) -> "Response":
        status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
        code, message = {
            404: ("not_found", "there is no such address: see /docs"),
            405: ("method", "not like that: POST a photo to /draw, see /docs"),
        }.get(status, ("http", str(getattr(error, "detail", error))))
        return self._refused(status, code, message, headers)

    def _refused(self, status: int, code: str, message: str, headers: Any = None) -> "Response":
        from starlette.responses import Response

        self.counts.refused += 1
        told = {"error": {"code": code, "message": message}}
        return Response(_line(told), status, headers=headers, media_type=JSON)


async def _file_of_form(request: "Request", body: bytes) -> bytes:
    """The photo in a form: its first file."""
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=1, max_fields=20).parse()
    except MultiPartException as error:
        raise RefusedError(400, "form", f"the form cannot be read: {error.message}") from error
    except Exception as error:
        raise RefusedError(400, "form", "the form cannot be read: it has no boundary, or a damaged part") from error
    try:
        photo = next((value for _, value in form.multi_items() if isinstance(value, UploadFile)), None)
        if photo is None:
            raise RefusedError(400, "form", "there is no file in the form: name one, as in curl -F photo=@me.jpg")
        return await photo.read()
    finally:
        await form.close()


def _line(told: dict[str, Any]) -> str:
    return json.dumps(told) + "\n"
