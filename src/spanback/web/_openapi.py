"""The OpenAPI 3.1 document of the endpoint, built from the table that the code reads signals by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from spanback._version import __version__
from spanback.feedback._rules import FEEDBACK_ID_LIMIT_CHARACTERS, NAME_LIMIT_CHARACTERS
from spanback.web._fields import FIELDS
from spanback.web._http import JSON, PROBLEM

_STATUSES: Final = {
    400: "The request cannot be read.",
    401: "There is no good token.",
    403: "The token, or the page, does not allow this.",
    404: "There is no such path.",
    405: "The path does not take this method.",
    408: "The body is too slow.",
    413: "The body is too long.",
    415: "The body is neither JSON nor text.",
    422: "A field breaks its rule.",
    429: "Too many requests.",
    503: "Not now; try again with the same id.",
}
_GIVES: Final = (400, 401, 403, 408, 413, 415, 422, 429, 503)
_WITHDRAWS: Final = (400, 401, 403, 422, 429, 503)
_TEXT: Final = {"type": "string"}
_RECEIPT: Final = {
    "type": "object",
    "required": ["feedback_id", "status"],
    "additionalProperties": False,
    "properties": {
        "feedback_id": {**_TEXT, "description": "The id that the signal is recorded under."},
        "status": {**_TEXT, "description": "`recorded`, `spooled`, `unresolved` or `disabled`."},
        "omitted": {"type": "array", "items": _TEXT, "description": "Fields that were given and are not kept."},
    },
}
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {**_TEXT, "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "rule"],
                "properties": {"index": {"type": "integer"}, "field": _TEXT, "rule": _TEXT, "detail": _TEXT},
            },
        },
    },
}
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A feedback token."},
    "token": {"type": "apiKey", "in": "header", "name": "X-Feedback-Token", "description": "A feedback token."},
    "server": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The key of a server."},
}
_ANY_OF_THEM: Final[list[Mapping[str, list[str]]]] = [{name: []} for name in _SECURITY]


@lru_cache(maxsize=1)
def document() -> Mapping[str, Any]:
    """The document. It is the same for every endpoint; where it is served from is where the endpoint is."""
    one = _schema("Signal")
    many = {
        "type": "object",
        "required": ["signals"],
        "additionalProperties": False,
        "properties": {"signals": {"type": "array", "items": one, "minItems": 1, "maxItems": 100}},
    }
    receipts = {
        "type": "object",
        "required": ["receipts"],
        "properties": {"receipts": {"type": "array", "items": _schema("Receipt")}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feedback on responses of language models",
            "version": __version__,
            "description": "Takes signals and records them on the spans of the responses that they are about.",
        },
        "servers": [{"url": "."}],
        "paths": {
            "/": {"post": _post("giveFeedback", "Gives one signal", one, _schema("Receipt"))},
            "/batch": {"post": _post("giveBatch", "Gives several signals, all of them or none", many, receipts)},
            "/{feedback_id}": {"delete": _delete()},
            "/openapi.json": {"get": _get("openapi", "This document", JSON, {"type": "object"})},
            "/feedback.js": {"get": _get("script", "The browser module", "text/javascript", _TEXT)},
            "/healthz": {"get": _get("health", "Whether the endpoint answers", JSON, {"type": "object"})},
        },
        "components": {
            "schemas": {"Signal": _signal(), "Receipt": _RECEIPT, "Problem": _PROBLEM},
            "securitySchemes": _SECURITY,
        },
    }


def _signal() -> Mapping[str, Any]:
    return {
        "type": "object",
        "description": "A score, a rating with its scale, a label, a comment or an improvement must be given, unless "
        "something is rejected.",
        "additionalProperties": False,
        "anyOf": [
            {"required": ["score"]},
            {"required": ["rating", "scale"]},
            {"required": ["label"]},
            {"required": ["comment"]},
            {"required": ["improvement"]},
            {"required": ["rejected"]},
        ],
        "properties": {
            name: {**field.schema, "description": field.description + _SERVER * field.is_for_servers}
            for name, field in FIELDS.items()
        },
    }


_SERVER: Final = " With an API key only."


def _schema(name: str) -> Mapping[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _post(operation: str, summary: str, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": _ANY_OF_THEM,
        "requestBody": {"required": True, "content": {kind: {"schema": body} for kind in (JSON, "text/plain")}},
        "responses": {"202": _answer("Recorded.", JSON, answer), **_problems(_GIVES)},
    }


def _delete() -> Mapping[str, Any]:
    identity = {"type": "string", "minLength": 1, "maxLength": FEEDBACK_ID_LIMIT_CHARACTERS}
    name = {"type": "string", "minLength": 1, "maxLength": NAME_LIMIT_CHARACTERS, "pattern": r"^[a-z0-9_.\-]+$"}
    return {
        "operationId": "withdraw",
        "summary": "Withdraws a signal",
        "security": _ANY_OF_THEM,
        "parameters": [
            {"name": "feedback_id", "in": "path", "required": True, "schema": identity},
            {"name": "name", "in": "query", "schema": name, "description": "The signal's name."},
            {"name": "target", "in": "query", "schema": _TEXT, "description": "What it is about." + _SERVER},
        ],
        "responses": {"202": _answer("Withdrawn.", JSON, _schema("Receipt")), **_problems(_WITHDRAWS)},
    }


def _get(operation: str, summary: str, kind: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {"200": _answer(summary + ".", kind, schema)},
    }


def _answer(description: str, kind: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _problems(statuses: tuple[int, ...]) -> Mapping[str, Any]:
    return {str(status): _answer(_STATUSES[status], PROBLEM, _schema("Problem")) for status in statuses}
