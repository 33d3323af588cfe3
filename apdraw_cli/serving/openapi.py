"""The description of the HTTP interface, for programs (OpenAPI 3.1), made of the options, so that it never lags."""

from typing import Any, Final, get_args

from apdraw_cli import __version__
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.serving.requests import JSON, PARAMETERS, media_type
from engines.options import choices_of

STATUSES: Final = {
    "400": "the request makes no sense: an unknown parameter, or a value that is not allowed",
    "408": "the photo did not arrive in time",
    "411": "an empty request: POST the photo's bytes",
    "413": "the photo is too large",
    "415": "not a picture in a format that apdraw reads",
    "422": "no drawing of this photo: no face, a damaged file, ...; the code tells which",
    "503": "too many photos are waiting: try again after the seconds in Retry-After; or nothing can be drawn any more",
    "504": "it took too long to draw",
}
"""What each status of an error means."""


def description(max_upload: float) -> dict[str, Any]:
    """The description of a service that takes photos of so many megabytes."""
    pictures = {media_type(name): {"schema": {"type": "string", "format": "binary"}} for name in FORMATS}
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "apdraw",
            "version": __version__,
            "description": "Draws the faces in a photo as artistic portrait drawings.",
        },
        "paths": {
            "/draw": {
                "post": {
                    "operationId": "draw",
                    "summary": "Draws a photo",
                    "description": "Gives the drawing of the photo's largest face as a picture; as JSON all drawings, "
                    f"and what is known of the faces. Photos of up to {max_upload:g} MB.",
                    "parameters": _parameters(),
                    "requestBody": {
                        "required": True,
                        "content": {
                            "image/*": {"schema": {"type": "string", "format": "binary"}},
                            "multipart/form-data": {
                                "schema": {
                                    "type": "object",
                                    "required": ["photo"],
                                    "properties": {"photo": {"type": "string", "format": "binary"}},
                                }
                            },
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "the drawing",
                            "content": {**pictures, JSON: {"schema": {"$ref": "#/components/schemas/Drawn"}}},
                        },
                        **{status: {"description": told, "content": error} for status, told in STATUSES.items()},
                    },
                }
            },
            "/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether photos can be drawn, and how many are waiting",
                    "responses": {
                        "200": {
                            "description": "photos can be drawn",
                            "content": {JSON: {"schema": {"type": "object"}}},
                        },
                        "503": {"description": "none can be drawn any more", "content": error},
                    },
                }
            },
        },
        "components": {"schemas": {"Error": _ERROR, "Drawn": _DRAWN}},
    }


_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _parameters() -> list[dict[str, Any]]:
    listed = []
    for name, (field, kind) in PARAMETERS.items():
        choices = choices_of(field, kind)
        plain = next((word for part, word in _TYPES.items() if part in (kind, *get_args(kind))), "string")
        schema: dict[str, Any] = {"type": plain} | ({"enum": list(choices)} if choices else {})
        listed.append({"name": name, "in": "query", "description": field.metadata["help"], "schema": schema})
    as_json = "All drawings, and what is known of the faces, as JSON; as the header Accept: application/json does."
    listed.append({"name": "json", "in": "query", "description": as_json, "schema": {"type": "boolean"}})
    return listed


def _array(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_NUMBERS: Final = _array({"type": "number"})

_ERROR: Final = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}

_DRAWN: Final = {
    "type": "object",
    "properties": {
        "apdraw": {"type": "string", "description": "the version"},
        "photo_size": {**_NUMBERS, "description": "width and height in pixels, upright"},
        "faces": _array(
            {
                "type": "object",
                "properties": {
                    "box": {**_NUMBERS, "description": "x, y, width, height in pixels of the photo"},
                    "score": {"type": "number"},
                    "landmarks": {**_array(_NUMBERS), "description": "left eye, right eye, nose, corners of the mouth"},
                },
            }
        ),
        "transform": {
            **_array(_array(_NUMBERS)),
            "description": "of each face, 2 x 3: from pixels of the photo to those of its 512 x 512 portrait",
        },
        "warnings": _array(
            {"type": "object", "properties": {"code": {"type": "string"}, "message": {"type": "string"}}}
        ),
        "drawings": _array(
            {
                "type": "object",
                "properties": {
                    "media_type": {"type": "string"},
                    "base64": {"type": "string", "contentEncoding": "base64"},
                },
            }
        ),
        "seconds": {"type": "object", "description": "by stage"},
    },
}
