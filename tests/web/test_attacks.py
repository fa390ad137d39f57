"""Whatever is tried against the endpoint is refused: with the right status, nothing recorded, nothing secret told."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from spanback.web._endpoint import BODY_LIMIT_BYTES
from tests.web.clients import KINDS, Api, feedback_app
from tests.web.conftest import ED25519_KEY, KEY, OTHER_KEY, OTHER_REF, REF
from tests.web.test_tokens import ED_KID, GOOD, KID, NOW, encoded, forged, public_of_ed, signed

GOOD_TOKEN = REF.token(keys=[KEY])
API_KEY = "k" * 32
UP = {"score": 1, "name": "user_thumbs"}
TOKENS = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)*")


class Attack(NamedTuple):
    """What is sent, and how it is refused."""

    status: int
    type: str
    signal: Any = UP
    token: str | None = GOOD_TOKEN
    path: str = "/"
    method: str = "POST"
    headers: Mapping[str, str] = MappingProxyType({})


def bearer(status: int, type: str, token: str | None, **more: Any) -> Attack:
    """An attack by its token."""
    return Attack(status, type, token=token, **more)


def field(rule_of: str, value: Any, status: int = 422, type: str = "invalid-feedback") -> Attack:
    """An attack by one field."""
    return Attack(status, type, {**UP, rule_of: value})


def body(content: bytes, status: int = 400, type: str = "invalid-body") -> Attack:
    """An attack by the body."""
    return Attack(status, type, content)


def headed(status: int, type: str, method: str = "POST", path: str = "/", **headers: str) -> Attack:
    """An attack by headers, method or path."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Attack(status, type, path=path, method=method, headers=sent)


BATCH = {"signals": [UP, {"score": 9}, UP]}
ATTACKS = {
    "no token": bearer(401, "token-missing", None),
    "empty token": Attack(401, "token-invalid", {**UP, "token": ""}, None),
    "a token that is no text": Attack(401, "token-invalid", {**UP, "token": {"a": 1}}, None),
    "forged": bearer(401, "token-invalid", GOOD_TOKEN[:-4] + "AAAA"),
    "forged, in its own header": Attack(
        401, "token-invalid", token=None, headers={"x-feedback-token": GOOD_TOKEN[:-4] + "AAAA"}
    ),
    "forged, in the body": Attack(401, "token-invalid", {**UP, "token": GOOD_TOKEN[:-4] + "AAAA"}, None),
    "of another key": bearer(401, "token-invalid", REF.token(keys=[OTHER_KEY])),
    "changed claims": bearer(
        401, "token-invalid", f"{GOOD_TOKEN.split('.')[0]}.{encoded(GOOD)}.{GOOD_TOKEN.split('.')[2]}"
    ),
    "expired": bearer(401, "token-expired", signed({**GOOD, "iat": NOW - 99, "exp": NOW - 9})),
    "not yet valid": bearer(401, "token-not-yet-valid", signed({**GOOD, "iat": NOW + 3_600, "exp": NOW + 7_200})),
    "alg none": bearer(401, "token-invalid", f"{encoded({'alg': 'none', 'kid': KID})}.{encoded(GOOD)}."),
    "key confusion": bearer(401, "token-invalid", forged({"alg": "HS256", "kid": ED_KID}, GOOD, public_of_ed)),
    "a key out of a file": bearer(401, "token-invalid", forged({"alg": "HS256", "kid": "/dev/null"}, GOOD, b"")),
    "oversized token": bearer(401, "token-invalid", GOOD_TOKEN + "A" * 5_000),
    "another audience's": bearer(401, "token-foreign", REF.token(keys=[KEY], audience="shop")),
    "another user's": Attack(403, "token-not-allowed", {**UP, "user_id": "bob"}, REF.token(keys=[KEY], user_id="anna")),
    "a bound token of nobody": bearer(403, "token-not-allowed", REF.token(keys=[KEY], user_id="anna")),
    "a name put on an unbound token": field("user_id", "bob", 403, "token-not-allowed"),
    "another response's": Attack(403, "token-not-allowed", {**UP, "token": OTHER_REF.token(keys=[KEY])}),
    "a target of its own": field("target", REF.traceparent),
    "another's signal replaced": field("feedback_id", "vote~AAAAAAAAAAAA", 403, "token-not-allowed"),
    "another's signal withdrawn": headed(403, "token-not-allowed", "DELETE", "/vote~AAAAAAAAAAAA"),
    "withdrawn without a token": bearer(401, "token-missing", None, method="DELETE", path="/vote"),
    "signal not allowed": bearer(403, "token-not-allowed", REF.token(keys=[KEY], signals=["stars"])),
    "the usual signal not allowed": Attack(
        403, "token-not-allowed", {"score": 1}, REF.token(keys=[KEY], signals=["stars"])
    ),
    "an evaluator's word": field("source", "system"),
    "an expert's word": field("rater_id", "prof"),
    "a forged rejected response": field("rejected", GOOD_TOKEN[:-4] + "AAAA", 401, "token-invalid"),
    "a score beside a preference": field("rejected", OTHER_REF.token(keys=[KEY])),
    "better than itself": Attack(422, "invalid-feedback", {"rejected": GOOD_TOKEN}),
    "no rejected responses": field("rejected", []),
    "rejected numbers": field("rejected", [1]),
    "a wrong API key": headed(401, "api-key-invalid", x_api_key="k" * 31 + "j"),
    "an empty API key": headed(401, "api-key-invalid", x_api_key=""),
    "10 MB": body(b'{"comment":"' + b"x" * 10_000_000 + b'"}', 413, "too-long"),
    "a length that is no number": headed(400, "invalid-body", content_length="-1"),
    "a length of many digits": headed(413, "too-long", content_length="9" * 400),
    "no JSON": body(b"{"),
    "no UTF-8": body(b'{"comment":"\xff"}'),
    "empty": body(b""),
    "a list": body(b"[]"),
    "text": body(b'"x"'),
    "a depth bomb": body(b'{"improvement":' + b"[" * 100_000),
    "a closed depth bomb": body(b'{"improvement":' + b"[" * 65 + b"]" * 65 + b"}"),
    "a bomb of objects": body(b'{"a":' * 5_000),
    "quotes without end": body(b'{"improvement":[' + b"[" * 65 + b'"\\"' * 40_000),
    "a number of many digits": body(b'{"score":' + b"1" * 100_000 + b"}"),
    "a number beyond all floats": body(b'{"score":1e999}', 422, "invalid-feedback"),
    "NaN": body(b'{"score":NaN}'),
    "Infinity": body(b'{"score":1,"improvement":[-Infinity]}'),
    "duplicate keys": body(b'{"score":1,"score":-1}'),
    "duplicate keys deep inside": body(b'{"score":1,"improvement":{"a":{"b":1,"b":2}}}'),
    "duplicate tokens": body(b'{"score":1,"token":"a","token":"b"}'),
    "a lone surrogate": body(b'{"score":1,"comment":"\\ud800"}'),
    "a lone surrogate in a key": body(b'{"score":1,"metadata":{"\\udfff":1}}'),
    "a surrogate in UTF-8": body(b'{"comment":"\xed\xa0\x80"}'),
    "an unknown field": field("__class__", "x"),
    "a bool for a score": field("score", True),
    "a score beyond": field("score", 5),
    "text for a score": field("score", "1"),
    "a line break in a name": field("name", "x\r\nSet-Cookie: a=b"),
    "a line break in a label": field("label", "x\r\nSet-Cookie: a=b"),
    "a line break in an id": field("feedback_id", "x\r\nSet-Cookie: a=b"),
    "a NUL in an id": field("feedback_id", "x\x00"),
    "an id of any length": field("feedback_id", "x" * 1_000),
    "objects in metadata": field("metadata", {"a": {"b": 1}}),
    "10,000 keys of metadata": field("metadata", {f"k{number}": 1 for number in range(10_000)}),
    "a time that is none": field("observed_at", "yesterday"),
    "a time without a zone": field("observed_at", "2026-01-01T00:00:00"),
    "a time in the future": field("observed_at", "2999-01-01T00:00:00Z"),
    "nothing said": Attack(422, "invalid-feedback", {"name": "user_thumbs"}),
    "a batch with one fault": Attack(422, "invalid-feedback", BATCH, path="/batch"),
    "a batch with one foreign token": Attack(
        403, "token-not-allowed", {"signals": [UP, {**UP, "token": OTHER_REF.token(keys=[KEY])}]}, path="/batch"
    ),
    "a batch of no objects": Attack(422, "invalid-feedback", {"signals": [UP, 1]}, path="/batch"),
    "a batch of too many": Attack(400, "invalid-body", {"signals": [UP] * 101}, path="/batch"),
    "an empty batch": Attack(400, "invalid-body", {"signals": []}, path="/batch"),
    "a batch with more beside": Attack(400, "invalid-body", {"signals": [UP], "token": GOOD_TOKEN}, path="/batch"),
    "a form": headed(415, "content-type", content_type="application/x-www-form-urlencoded"),
    "no content type": headed(415, "content-type", content_type=""),
    "a picture": headed(415, "content-type", content_type="image/png"),
    "another charset": headed(415, "content-type", content_type="application/json; charset=utf-16"),
    "a foreign origin": headed(403, "foreign-origin", origin="https://evil.example"),
    "an origin that begins alike": headed(403, "foreign-origin", origin="https://app.example.com.evil.example"),
    "no origin at all": headed(403, "foreign-origin", origin="null"),
    "a foreign origin withdraws": headed(403, "foreign-origin", "DELETE", "/vote", origin="https://evil.example"),
    "a foreign preflight": headed(
        403, "foreign-origin", "OPTIONS", origin="https://evil.example", access_control_request_method="POST"
    ),
    "up the path": headed(404, "not-found", path="/../../etc/passwd"),
    "up the path, encoded": headed(404, "not-found", path="/%2e%2e%2f%2e%2e%2fetc/passwd"),
    "two slashes": headed(404, "not-found", path="/batch//"),
    "a slash behind": headed(404, "not-found", path="/batch/"),
    "a file beside the script": headed(404, "not-found", path="/static/feedback.js"),
    "withdrawing nothing": headed(405, "method", "DELETE", "/"),
    "withdrawing a line break": headed(422, "invalid-feedback", "DELETE", "/a%0d%0aSet-Cookie:%20a=b"),
    "withdrawing a NUL": headed(422, "invalid-feedback", "DELETE", "/a%00"),
    "withdrawing by another target": headed(422, "invalid-feedback", "DELETE", "/a?target=b"),
    "a query that is none": headed(400, "invalid-body", "DELETE", "/a?%ff=%ff"),
    "a query of many": headed(400, "invalid-body", "DELETE", "/a?" + "name=a&" * 50 + "name=a"),
    "another method": headed(405, "method", "PUT"),
    "reading what is only given": headed(405, "method", "GET", "/batch"),
    "reading a signal": headed(405, "method", "GET", "/some-id"),
    "tracing": headed(405, "method", "TRACE"),
}


@pytest.fixture
def quiet(telemetry, caplog, capfd):
    """Says at the end of an attack that no more than so many signals were emitted, and nothing secret told anywhere."""
    caplog.set_level(logging.DEBUG)

    def check(told: str, sent: str, signals: int = 0) -> None:
        assert len(telemetry.feedback) == len(telemetry.spans) == len(telemetry.logs) == signals
        emitted = "".join(span.to_json() for span in telemetry.spans) + "".join(map(str, telemetry.logs))
        printed = "".join(capfd.readouterr())
        tokens = [part for token in TOKENS.findall(sent) for part in token.split(".") if len(part) > 20]
        secrets = {*(key.partition(":")[2] for key in (KEY, OTHER_KEY, ED25519_KEY)), API_KEY, *tokens}
        places = {"answer": told, "log": caplog.text, "telemetry": emitted, "output": printed}
        assert [(name, secret) for name, text in places.items() for secret in secrets if secret in text] == []

    return check


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(name, kind, quiet):
    """With its status and as a problem document, without a trace in telemetry, and without a secret in the log."""
    attack = ATTACKS[name]
    api = Api(kind, keys=[KEY, ED25519_KEY], api_keys=[API_KEY], origins=["https://app.example.com"])
    headers = {"content-type": "application/json", **attack.headers}
    if attack.token is not None:
        headers.setdefault("authorization", f"Bearer {attack.token}")
    content = attack.signal if isinstance(attack.signal, bytes) else json.dumps(attack.signal).encode()
    begun_s = time.perf_counter()
    answer = api.request(attack.method, attack.path, content=content, headers=headers)
    assert time.perf_counter() - begun_s < 2
    assert (answer.status_code, answer.json()["type"]) == (attack.status, f"urn:spanback:problem:{attack.type}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == attack.status
    assert "set-cookie" not in answer.headers
    quiet(answer.text + str(answer.headers), f"{headers} {content!r}")


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_fault_each_attack_is_a_good_request(kind, telemetry):
    """So what is refused above is refused for its fault alone."""
    api = Api(kind, keys=[KEY, ED25519_KEY], api_keys=[API_KEY], origins=["https://app.example.com"])
    assert api.post(UP, GOOD_TOKEN, origin="https://app.example.com").status_code == 202
    assert api.post({**UP, "user_id": "anna"}, REF.token(keys=[KEY], user_id="anna")).status_code == 202
    assert api.post(UP, REF.token(keys=[KEY], signals=["user_thumbs"])).status_code == 202
    assert api.post(UP, signed(GOOD)).status_code == 202
    assert api.post({**UP, "source": "user"}, GOOD_TOKEN).status_code == 202
    assert api.post({"rejected": OTHER_REF.token(keys=[KEY])}, GOOD_TOKEN).status_code == 202
    assert api.post({**UP, "target": REF.traceparent}, x_api_key=API_KEY).status_code == 202
    assert api.post({"signals": [UP, UP]}, GOOD_TOKEN, "/batch").status_code == 202
    assert len(telemetry.feedback) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_not_used_more_often_than_it_may(kind, quiet):
    """What is refused for another reason does not count, and batches count each signal."""
    api = Api(kind, keys=[KEY])
    token = REF.token(keys=[KEY], max_uses=3)
    assert api.post({"score": 9}, token).status_code == 422
    assert api.post(UP, token).status_code == 202
    assert api.post({"signals": [UP, UP]}, token, "/batch").status_code == 202
    refused = api.post(UP, token)
    assert (refused.status_code, refused.json()["detail"]) == (403, "token must not be used more than 3 times")
    assert api.post({"signals": [UP]}, token, "/batch").status_code == 403
    quiet(refused.text, token, signals=3)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_requests_from_one_address_are_limited(kind, quiet):
    """Most are refused before their token is looked at, and the answer says when to come again."""
    app = feedback_app(kind, keys=[KEY], rate_per_token=None)
    statuses: list[int] = []
    for number in range(10_000):
        # All addresses of one network of IPv6 are one customer's.
        address = "10.0.0.1" if kind == "asgi" else f"2001:db8::{number:x}"
        status, headers, told = raw(app, kind, address, b'{"score":1}')
        statuses.append(status)
    assert statuses == [202] * 600 + [429] * 9_400
    assert 0 < int(headers["retry-after"]) <= 61
    quiet(told, GOOD_TOKEN, signals=600)
    assert raw(app, kind, "10.0.0.2", b'{"score":1}')[0] == 202


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_body_is_given_up(kind, quiet):
    """One that comes in drops, and never to its end. Behind real servers the same is tried in `test_served`."""
    app = feedback_app(kind, keys=[KEY], body_timeout_s=0.2)
    begun_s = time.perf_counter()
    status, _, told = raw(app, kind, "10.0.0.1", *[b"{"] * 400)
    assert (status, json.loads(told)["type"]) == (408, "urn:spanback:problem:too-slow")
    assert time.perf_counter() - begun_s < 2
    quiet(told, GOOD_TOKEN)


def raw(app: Any, kind: str, address: str, *pieces: bytes) -> tuple[int, dict[str, str], str]:
    """A request as a server hands it over, its body in pieces of which one comes each hundredth of a second."""
    if kind == "wsgi":
        return raw_wsgi(app, address, *pieces)
    found: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        await asyncio.sleep(0.01 * (len(pieces) > 1))
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        found.append(message)

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {GOOD_TOKEN}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": (address, 1)}
    asyncio.run(app(scope, receive, send))
    start, body = found
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"].decode()


def raw_wsgi(app: Any, address: str, *pieces: bytes) -> tuple[int, dict[str, str], str]:
    """The same for WSGI."""
    begun: list[Any] = []
    left = list(pieces)

    class Drops:
        def read(self, _size: int) -> bytes:
            time.sleep(0.01 * (len(pieces) > 1))
            return left.pop(0)

    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(sum(map(len, pieces))),
        "HTTP_AUTHORIZATION": f"Bearer {GOOD_TOKEN}",
        "REMOTE_ADDR": address,
        "wsgi.input": Drops(),
    }
    body = b"".join(app(environ, lambda line, headers: begun.append((line, headers))))
    ((line, headers),) = begun
    return int(line.split()[0]), dict(headers), body.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_one_token_is_limited_wherever_it_comes_from(kind, quiet):
    """And others are not touched by that."""
    api = Api(kind, keys=[KEY], rate_per_token="2/minute")
    assert [api.post(UP, GOOD_TOKEN).status_code for _ in range(4)] == [202, 202, 429, 429]
    assert api.post(UP, OTHER_REF.token(keys=[KEY])).status_code == 202
    refused = api.request("DELETE", "/a", headers={"x-feedback-token": GOOD_TOKEN})
    assert refused.status_code == 429
    quiet(refused.text, GOOD_TOKEN, signals=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stolen_token_is_good_for_sixty_signals_a_minute(kind, quiet):
    """Unless the app says otherwise, and for no more than the one response; it reads nothing back."""
    app = feedback_app(kind, keys=[KEY])
    answers = [raw(app, kind, f"10.0.0.{number}", b'{"score":1}') for number in range(62)]
    assert [status for status, _, _ in answers] == [202] * 60 + [429] * 2
    assert all(json.loads(told).keys() == {"feedback_id", "status"} for _, _, told in answers[:60])
    quiet("".join(told for _, _, told in answers), GOOD_TOKEN, signals=60)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_replaces_or_withdraws_the_signal_of_another(kind, telemetry):
    """Ids are no secrets: the same id of another response, or another user, is another signal."""
    users = {"anna": "anna", "bob": "bob"}
    api = Api(kind, keys=[KEY], user_of=lambda given: users[named(given, kind)])
    mine, theirs = (REF.token(keys=[KEY], user_id=user) for user in ("anna", "bob"))
    other = OTHER_REF.token(keys=[KEY], user_id="anna")
    first = api.post({**UP, "feedback_id": "vote"}, mine, x_user="anna").json()["feedback_id"]
    assert api.post({**UP, "feedback_id": "vote"}, mine, x_user="anna").json()["feedback_id"] == first
    assert api.post({**UP, "feedback_id": first}, mine, x_user="anna").json()["feedback_id"] == first
    for token, user in ((theirs, "bob"), (other, "anna")):
        assert api.post({**UP, "feedback_id": first}, token, x_user=user).status_code == 403
        assert api.post({**UP, "feedback_id": "vote"}, token, x_user=user).json()["feedback_id"] != first
        headers = {"authorization": f"Bearer {token}", "x-user": user}
        assert api.request("DELETE", f"/{first}", headers=headers).status_code == 403
        assert api.request("DELETE", "/vote", headers=headers).json()["feedback_id"] != first
    assert (
        api.request("DELETE", "/vote", headers={"authorization": f"Bearer {mine}", "x-user": "bob"}).status_code == 403
    )
    gone = api.request("DELETE", "/vote", headers={"authorization": f"Bearer {mine}", "x-user": "anna"})
    assert gone.json()["feedback_id"] == first
    assert telemetry.feedback[-1].attributes["feedback.action"] == "retract"
    assert (telemetry.feedback[-1].span_id, telemetry.feedback[-1].score) == (REF.span_id, None)


def named(given: Any, kind: str) -> str:
    """Who sends a request, by a header that an app's own proxy would set."""
    if kind == "wsgi":
        return given["HTTP_X_USER"]
    return dict(given["headers"])[b"x-user"].decode()


def test_nothing_of_a_token_or_key_is_in_telemetry(telemetry):
    """Neither in spans nor in log records."""
    api = Api("asgi", keys=[KEY])
    token = replace(REF, conversation_id=None).token(keys=[KEY], user_id="anna@example.com")
    assert api.post({**UP, "comment": "fine", "user_id": "anna@example.com"}, token).status_code == 202
    shown = "".join(span.to_json() for span in telemetry.spans) + "".join(str(row) for row in telemetry.logs)
    assert "feedback user_thumbs" in shown
    assert not any(secret in shown for secret in (*token.split("."), KEY.partition(":")[2], "anna@example.com"))


def test_the_longest_body_that_is_read_is_said(telemetry):
    """One byte more is refused."""
    api = Api("asgi", keys=[KEY], rate_per_token=None)
    start = b'{"score":1}'
    assert api.post(start.ljust(BODY_LIMIT_BYTES), GOOD_TOKEN).status_code == 202
    assert api.post(start.ljust(BODY_LIMIT_BYTES + 1), GOOD_TOKEN).status_code == 413
