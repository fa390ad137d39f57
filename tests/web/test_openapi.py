"""The OpenAPI document says what the endpoint does, on both apps.

What is valid by the document may still be refused by rules between fields, which a schema cannot say: the lowest of a
scale must be below its highest, and a score is not given together with a rating.
"""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.web.clients import feedback_app
from tests.web.conftest import KEY, REF

API_KEY = "k" * 32
OPTIONS = {"keys": [KEY], "api_keys": [API_KEY], "rate_per_token": None, "rate_per_address": None}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
ASGI = schemathesis.openapi.from_asgi("/openapi.json", feedback_app("asgi", **OPTIONS))
WSGI_APP = feedback_app("wsgi", **OPTIONS)


def below(environ, start_response):
    """The app, for a client that leaves the first slash away where a document says that it is beside itself."""
    path = environ["PATH_INFO"].removeprefix("./").lstrip("/")
    environ["PATH_INFO"] = "/" if path == "." else f"/{path}"
    return WSGI_APP(environ, start_response)


WSGI = schemathesis.openapi.from_wsgi("/openapi.json", below)
quick = settings(max_examples=10, suppress_health_check=list(HealthCheck), derandomize=True)


@ASGI.parametrize()
@quick
def test_the_asgi_app_does_what_the_document_says(case):
    """Whatever the document allows is taken, whatever it does not is refused as it says."""
    check(case)


@WSGI.parametrize()
@quick
def test_the_wsgi_app_does_what_the_document_says(case):
    """As above."""
    check(case)


def check(case):
    """Sends what was generated, with a token."""
    case.call_and_validate(headers={"X-Feedback-Token": REF.token(keys=[KEY])}, checks=CHECKS)


@pytest.mark.parametrize("schema", [ASGI, WSGI])
def test_the_document_is_valid(schema):
    """By the schema of OpenAPI 3.1."""
    assert schema.raw_schema["openapi"] == "3.1.0"
    schema.validate()
