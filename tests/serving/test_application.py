"""The HTTP interface: pictures and JSON, and one line with a status for everything that goes wrong."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion_fakes import TWO_FACES, WARNED, FakeEngine, HeldEngine, engine_opener, fake_extractor, save_photo
from PIL import Image as Pillow

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.serving.application import Application
from apdraw_cli.serving.openapi import description
from apdraw_cli.serving.requests import media_type
from apdraw_cli.serving.service import DrawingService
from engines.options import EngineOptions

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")


class Client:
    """Asks an application as a client would over HTTP, without a network."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def get(self, path: str, **options: Any) -> Any:
        return asyncio.run(self._ask("GET", path, **options))

    def post(self, path: str, **options: Any) -> Any:
        return asyncio.run(self._ask("POST", path, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        transport = httpx.ASGITransport(self._application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **options)


class Served:
    """A client, and the service behind it."""

    def __init__(self, engine: FakeEngine, **options: Any) -> None:
        recipe = Recipe(FaceOptions(faces="all"))
        room = options.pop("room", 64)
        self.service = DrawingService(
            recipe, EngineOptions(), Path("m.onnx"), engine_opener(engine), fake_extractor, workers=1, room=room
        )
        chosen = {"max_upload": 0.1, "time_limit": 60.0, **options}
        self.client = Client(Application(self.service, recipe, **chosen).starlette())

    def draw(self, data: bytes, query: str = "", **options: Any) -> Any:
        return self.client.post(f"/draw{query}", content=data, **options)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    opened = Served(FakeEngine())
    yield opened
    opened.service.close()


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return save_photo(tmp_path / "p.png", 120).read_bytes()


def error_of(answer: Any) -> tuple[int, str]:
    """Status and code of an error, which is one line."""
    assert answer.text.endswith("\n")
    assert answer.text.count("\n") == 1
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_photo_becomes_a_picture_of_every_format(served: Served, photo: bytes, name: str) -> None:
    answer = served.draw(photo, f"?format={name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type(name)
    assert FORMATS[name].is_ours(io.BytesIO(answer.content))


def test_the_drawing_is_the_photos(served: Served, photo: bytes) -> None:
    picture = Pillow.open(io.BytesIO(served.draw(photo).content))
    assert picture.getextrema() == (120, 120)


def test_a_form_is_read_too(served: Served, photo: bytes) -> None:
    answer = served.client.post("/draw", files={"photo": ("me.png", photo)}, data={"note": "hello"})
    assert answer.content == served.draw(photo).content


def test_json_tells_all_drawings_and_faces(served: Served, tmp_path: Path) -> None:
    answer = served.draw(save_photo(tmp_path / "p.png", 120, TWO_FACES).read_bytes(), "?json=true&format=webp")
    told = answer.json()
    assert told["photo_size"] == [16, 12]
    assert len(told["faces"]) == len(told["transform"]) == len(told["drawings"]) == 2
    assert told["faces"][0]["box"] == [1.5, 2, 30, 40]
    assert told["transform"][0] == [[100, 0, 50], [0, 100, 50]]
    assert [each["media_type"] for each in told["drawings"]] == ["image/webp"] * 2
    values = [Pillow.open(io.BytesIO(base64.b64decode(each["base64"]))).convert("L") for each in told["drawings"]]
    assert [round(sum(each.getextrema()) / 2) for each in values] == [120, 121]


def test_a_group_on_one_page_over_the_photo(served: Served, tmp_path: Path) -> None:
    data = save_photo(tmp_path / "p.png", 120, TWO_FACES).read_bytes()
    page = Pillow.open(io.BytesIO(served.draw(data, "?place=photo&over=photo").content))
    assert (page.mode, page.size) == ("RGB", (16, 12))
    assert error_of(served.draw(data, "?over=photo")) == (400, "options")
    assert error_of(served.draw(data, "?place=photo&over=photo&format=svg")) == (400, "options")
    assert error_of(served.draw(data, "?overview=true")) == (400, "options")


def test_warnings_come_with_the_picture(served: Served, tmp_path: Path) -> None:
    data = save_photo(tmp_path / "p.png", 120, WARNED).read_bytes()
    assert served.draw(data).headers["x-apdraw-warnings"] == "small_face"
    assert served.draw(data, "?json=1").json()["warnings"] == [{"code": "small_face", "message": "the face is small"}]


def test_bad_input_is_refused_in_a_line(served: Served, photo: bytes, tmp_path: Path) -> None:
    black = save_photo(tmp_path / "black.png", 0).read_bytes()
    assert error_of(served.draw(b"Dear diary")) == (415, "not_an_image")
    assert error_of(served.draw(photo[:45])) in [(422, "truncated"), (422, "damaged")]
    assert error_of(served.draw(black)) == (422, "no_face")
    assert error_of(served.draw(b"")) == (411, "empty")
    assert error_of(served.draw(b"x" * 100_001)) == (413, "too_large")
    assert error_of(served.draw(photo, "?format=bmp")) == (400, "options")
    assert error_of(served.draw(photo, "?colour=red")) == (400, "options")
    assert error_of(served.client.post("/draw", data={"photo": "none"})) == (415, "not_an_image")  # the form's text
    assert error_of(served.client.post("/draw", files={"a": photo, "b": photo})) == (400, "form")
    form = {"content-type": "multipart/form-data"}
    assert error_of(served.draw(photo, headers=form)) == (400, "form")
    assert error_of(served.client.get("/draw")) == (405, "method")
    assert error_of(served.client.get("/none")) == (404, "not_found")
    assert served.draw(photo).status_code == 200


def test_a_stream_without_a_length_is_bounded_too(served: Served) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    assert error_of(served.client.post("/draw", content=endless())) == (413, "too_large")


def test_names_of_other_hosts_are_not_answered(served: Served) -> None:
    assert served.client.get("/health", headers={"Host": "example.org"}).status_code == 400
    assert served.client.get("/health", headers={"Host": "localhost:8000"}).status_code == 200


def test_health(served: Served) -> None:
    told = served.client.get("/health").json()
    assert (told["status"], told["engine"], told["waiting"]) == ("ok", "fake", 0)


def test_full_slow_and_broken(photo: bytes) -> None:
    engine = HeldEngine()
    slow = Served(engine, time_limit=0.2, room=1)
    try:
        assert error_of(slow.draw(photo)) == (504, "time_limit")
        answer = slow.draw(photo)  # the first one is still being drawn
        assert error_of(answer) == (503, "full")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        engine.let_go.set()
        slow.service.close()
    broken = Served(FakeEngine(fails_after=0))
    try:
        assert error_of(broken.draw(photo)) == (503, "unfit")
        assert error_of(broken.client.get("/health")) == (503, "unfit")
    finally:
        broken.service.close()


def test_the_description_names_what_there_is(served: Served) -> None:
    told = served.client.get("/openapi.json").json()
    assert told == json.loads(json.dumps(description(0.1)))
    post = told["paths"]["/draw"]["post"]
    (names,) = [each["schema"]["enum"] for each in post["parameters"] if each["name"] == "format"]
    assert names == list(FORMATS)
    assert {media_type(name) for name in FORMATS} < set(post["responses"]["200"]["content"])
    page = served.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "https://" not in page.text


def test_the_description_is_valid() -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(description(25))
