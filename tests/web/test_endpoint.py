"""What the endpoint records and answers, as an ASGI and as a WSGI app."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import threading
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from spanback import InvalidFeedback, InvalidSetting, MissingTokenKey, record_feedback
from spanback.errors import SpoolUnavailable
from spanback.web import MemoryUses
from spanback.web._endpoint import Endpoint, Options
from spanback.web._fields import FIELDS
from spanback.web._http import Head
from spanback.web._limits import BoundedMemory
from spanback.web._openapi import document
from spanback.web._static import SCRIPT, _read
from tests.web.clients import KINDS, Api, feedback_app, request
from tests.web.conftest import ED25519_KEY, KEY, OTHER_KEY, OTHER_REF, REF

API_KEY = "a-server's-key-of-32-characters!"
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def api(request, telemetry) -> Api:
    """The endpoint of the kind that the test is run for, with an API key."""
    return Api(request.node.callspec.params["kind"], api_keys=[API_KEY])


@kinds
@pytest.mark.parametrize("way", ["bearer", "header", "body", "beacon"])
def test_a_signal_is_recorded_on_the_span_of_the_token(way, api, kind, telemetry):
    """Wherever the token stands, and as `navigator.sendBeacon` sends it."""
    token = REF.token()
    signal: dict[str, Any] = {"score": 1, "name": "user_thumbs", "weight": 0.8, "comment": "Right!"}
    headers = {"content-type": "text/plain;charset=UTF-8" if way == "beacon" else "application/json"}
    if way in {"body", "beacon"}:
        signal["token"] = token
    elif way == "bearer":
        headers["authorization"] = f"bearer {token}"
    else:
        headers["x-feedback-token"] = token
    done = api.request("POST", "", content=json.dumps(signal), headers=headers)
    assert done.status_code == 202
    (row,) = telemetry.feedback
    assert done.json() == {"feedback_id": row.feedback_id, "status": "recorded"}
    assert (row.name, row.score, row.weight, row.comment) == ("user_thumbs", 1.0, 0.8, "Right!")
    assert (row.trace_id, row.span_id, row.response_id) == (REF.trace_id, REF.span_id, REF.response_id)
    assert row.attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert done.headers["cache-control"] == "no-store"
    assert done.headers["x-content-type-options"] == "nosniff"
    assert done.headers["vary"] == "origin"


@kinds
def test_every_field_gets_where_it_belongs(api, kind, telemetry):
    """Each is the argument of `record_feedback` of the same name; null is as if it were not there."""
    signal = {
        "rating": 4,
        "scale": [1, 5],
        "name": "stars",
        "type": "explicit",
        "label": "good",
        "improvement": {"text": "Bonjour"},
        "metadata": {"page": "home", "n": 3, "x": True},
        "criterion": "tone",
        "observed_at": "2026-01-02T03:04:05Z",
        "feedback_id": "mine",
        "comment": None,
    }
    done = api.post(signal, REF.token())
    assert done.status_code == 202, done.text
    (row,) = telemetry.feedback
    assert (row.score, row.label, row.improvement, row.metadata) == (
        0.5,
        "good",
        {"text": "Bonjour"},
        {"page": "home", "n": 3, "x": True},
    )
    assert row.attributes["feedback.criterion"] == "tone"
    assert row.attributes["feedback.observed_at"] == "2026-01-02T03:04:05+00:00"
    assert row.feedback_id.startswith("mine~")
    assert api.post({**signal, "observed_at": datetime.now(timezone.utc).isoformat()}, REF.token()).status_code == 202


@kinds
def test_a_batch_is_recorded_as_a_whole(api, kind, telemetry):
    """Each signal may have a token of its own; what is wrong is named by its number."""
    signals = [{"score": 1, "token": REF.token()}, {"score": -1, "token": OTHER_REF.token()}]
    done = api.post({"signals": signals}, path="/batch")
    assert (done.status_code, [one["status"] for one in done.json()["receipts"]]) == (202, ["recorded"] * 2)
    assert [row.span_id for row in telemetry.feedback] == [REF.span_id, OTHER_REF.span_id]
    wrong = api.post(
        {"signals": [*signals, {"score": 7, "token": REF.token()}, {"score": "x", "token": REF.token()}]}, path="/batch"
    )
    assert wrong.status_code == 422
    assert [(one["index"], one["field"], one["rule"]) for one in wrong.json()["errors"]] == [
        (2, "score", "must be a number from -1 to 1, and no bool"),
        (3, "score", "must be a number from -1 to 1, and no bool"),
    ]
    assert len(telemetry.feedback) == 2


BAD = {
    "score": {"score": 7},
    "rating": {"rating": 9, "scale": [1, 5]},
    "scale": {"rating": 3},
    "name": {"score": 1, "name": "Thumbs up"},
    "weight": {"score": 1, "weight": -1},
    "type": {"score": 1, "type": "loud"},
    "label": {"label": " "},
    "comment": {"comment": ""},
    "improvement": {"improvement": " "},
    "metadata": {"score": 1, "metadata": []},
    "criterion": {"score": 1, "criterion": "?"},
    "scope": {"score": 1, "scope": "all"},
    "choice": {"score": 1, "choice": -1},
    "tool_call_id": {"score": 1, "tool_call_id": ""},
    "feedback_id": {"score": 1, "feedback_id": " "},
    "nothing": {"name": "user_thumbs"},
}


@kinds
@pytest.mark.parametrize("bad", BAD)
def test_what_is_wrong_is_said_as_record_feedback_says_it(bad, api, kind, telemetry):
    """Field, rule and words are those of `InvalidFeedback`, in a document of RFC 9457."""
    signal: dict[str, Any] = BAD[bad]
    with pytest.raises(InvalidFeedback) as caught:
        record_feedback(REF, **signal)
    told = str(caught.value)
    refused = api.post(signal, REF.token())
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "urn:spanback:problem:invalid-feedback",
        "title": "A field breaks its rule",
        "status": 422,
        "detail": told,
        "errors": [{"field": caught.value.field, "rule": caught.value.rule, "detail": told}],
    }
    assert telemetry.feedback == ()


@kinds
def test_a_vote_is_given_changed_and_withdrawn(api, kind, telemetry):
    """By the id that the client chose or by the one that it was told."""
    token = REF.token()
    told = api.post({"score": 1, "feedback_id": "v"}, token).json()["feedback_id"]
    assert api.post({"score": -1, "feedback_id": told}, token).json()["feedback_id"] == told
    for feedback_id in ("v", told):
        gone = api.request(
            "DELETE", f"/{feedback_id}", headers={"x-feedback-token": token}, params={"name": "user_feedback"}
        )
        assert (gone.status_code, gone.json()) == (202, {"feedback_id": told, "status": "recorded"})
    names = ("feedback.id", "feedback.action", "feedback.score")
    assert [tuple(span.attributes.get(name) for name in names) for span in telemetry.spans] == [
        (told, "set", 1.0),
        (told, "set", -1.0),
        (told, "retract", None),
        (told, "retract", None),
    ]


@kinds
def test_an_id_with_slashes_is_withdrawn_by_its_address(api, kind, telemetry):
    """The endpoint itself makes such ids, of a vote on a criterion."""
    token = REF.token()
    told = api.post({"score": 1, "type": "implicit", "criterion": "tone"}, token).json()["feedback_id"]
    assert told.startswith("user_feedback/tone~")
    for path in (f"/{quote(told, safe='')}", f"/{told}"):
        gone = api.request("DELETE", path, headers={"x-feedback-token": token})
        assert (gone.status_code, gone.json()["feedback_id"]) == (202, told)
    assert api.request("GET", f"/{told}").status_code == 404


@pytest.mark.parametrize(("version", "said"), [("1.1", [b"close"]), ("2", [])])
def test_only_old_connections_are_told_to_close(version, said, telemetry):
    """HTTP/2 takes the header for a fault of the whole connection."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"999999999")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "http_version": version}
    asyncio.run(feedback_app("asgi")(scope, receive, send))
    assert sent[0]["status"] == 413
    assert [value for name, value in sent[0]["headers"] if name == b"connection"] == said


@kinds
def test_what_a_user_does_twice_is_one_signal(api, kind, telemetry):
    """So is what is inferred; two opinions of nobody in particular are two."""

    def ids(token: str, **signal: Any) -> int:
        return len({api.post({"score": 1, **signal}, token).json()["feedback_id"] for _ in range(2)})

    bound = REF.token(user_id="anna")
    assert ids(bound, user_id="anna") == 1
    assert ids(bound, user_id="anna", criterion="tone") == 1
    assert ids(REF.token(), type="implicit", name="copied") == 1
    assert ids(REF.token()) == 2
    assert len({row.feedback_id for row in telemetry.feedback}) == 5
    assert telemetry.feedback[0].attributes["feedback.user.hash"]
    assert "feedback.user.hash" not in telemetry.feedback[-1].attributes


@kinds
def test_one_response_is_preferred_to_another(api, kind, telemetry):
    """The tokens of the others stand in the body."""
    done = api.post({"rejected": [OTHER_REF.token()], "name": "drafts"}, REF.token())
    assert done.status_code == 202, done.text
    span = next(span for span in telemetry.spans if span.name == "feedback drafts")
    assert [(link.context.span_id, dict(link.attributes)) for link in span.links] == [
        (REF.span_id, {"feedback.relation": "chosen"}),
        (OTHER_REF.span_id, {"feedback.relation": "rejected"}),
    ]
    assert api.post({"rejected": OTHER_REF.token()}, REF.token()).status_code == 202


@kinds
@pytest.mark.parametrize(
    ("given", "sides"),
    [
        ({"choice": 0, "rejected_choice": 1}, [(REF, 0), (REF, 1)]),
        ({"choice": 0, "rejected_choice": [1, 2]}, [(REF, 0), (REF, 1), (REF, 2)]),
        ({"choice": 2, "rejected": OTHER_REF}, [(REF, 2), (OTHER_REF, None)]),
        ({"choice": 2, "rejected": OTHER_REF, "rejected_choice": 0}, [(REF, 2), (OTHER_REF, 0)]),
        ({"rejected": [OTHER_REF], "rejected_choice": [None]}, [(REF, None), (OTHER_REF, None)]),
    ],
    ids=["of one response", "best of three", "and a response", "of two responses", "two responses"],
)
def test_one_choice_is_preferred_to_another(given, sides, api, kind, telemetry):
    """Of one response or of several, as `record_preference` takes them."""
    rejected = given.get("rejected")
    if rejected is not None:
        tokens = [one.token() for one in rejected] if isinstance(rejected, list) else rejected.token()
        given = {**given, "rejected": tokens}
    done = api.post(given, REF.token())
    assert done.status_code == 202, done.text
    (span,) = (span for span in telemetry.spans if span.name == "feedback preference")
    relations = ["chosen", *["rejected"] * (len(sides) - 1)]
    assert [(link.context.span_id, dict(link.attributes)) for link in span.links] == [
        (
            ref.span_id,
            {"feedback.relation": relation} | ({} if choice is None else {"feedback.target.choice": choice}),
        )
        for relation, (ref, choice) in zip(relations, sides, strict=True)
    ]


@kinds
def test_a_user_has_one_preference_among_the_choices_of_a_response(api, kind, telemetry):
    """Whichever is chosen."""
    token = REF.token(user_id="anna")
    given = ({"choice": 0, "rejected_choice": 1}, {"choice": 1, "rejected_choice": 0})
    assert len({api.post({**one, "user_id": "anna"}, token).json()["feedback_id"] for one in given}) == 1


@kinds
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"choice": 1, "rejected_choice": 1}, "rejected_choice"),
        ({"choice": -1, "rejected_choice": 1}, "choice"),
        ({"choice": 0, "rejected_choice": True}, "rejected_choice"),
        ({"choice": 0, "rejected_choice": []}, "rejected_choice"),
        ({"choice": 0, "rejected_choice": [1, "2"]}, "rejected_choice[1]"),
        ({"rejected_choice": 1, "score": 1}, "score"),
        ({"rejected_choice": 1, "tool_call_id": "call_1"}, "tool_call_id"),
    ],
    ids=str,
)
def test_choices_that_cannot_be_compared_are_named(given, named, api, kind, telemetry):
    """As the endpoint calls them, and nothing is recorded."""
    refused = api.post(given, REF.token())
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, named)
    assert not telemetry.feedback


class TestServers:
    """With an API key a server may rate every response, in the name of everybody."""

    @kinds
    @pytest.mark.parametrize("target", ["traceparent", "token", "response_id", "token field"])
    def test_the_target_stands_in_the_body(self, target, api, kind, telemetry):
        """As `record_feedback` takes it."""
        named = {
            "traceparent": {"target": REF.traceparent},
            "token": {"target": REF.token()},
            "response_id": {"target": "chatcmpl-unknown"},
            "token field": {"token": REF.token()},
        }[target]
        done = api.post(
            {"score": 0.5, "source": "system", "rater_id": "judge", "feedback_id": "own", **named}, x_api_key=API_KEY
        )
        expected = "unresolved" if target == "response_id" else "recorded"
        assert done.json() == {"feedback_id": "own", "status": expected}
        (row,) = telemetry.feedback
        assert (row.source, row.span_id) == ("system", None if target == "response_id" else REF.span_id)

    @kinds
    def test_a_user_may_be_named(self, api, kind, telemetry):
        """The server knows its users."""
        assert (
            api.post({"score": 1, "user_id": "anna", "target": REF.traceparent}, x_api_key=API_KEY).status_code == 202
        )
        assert telemetry.feedback[0].attributes["feedback.user.hash"]

    @kinds
    def test_without_a_target_it_is_said(self, api, kind, telemetry):
        """There is nothing to rate."""
        refused = api.post({"score": 1}, x_api_key=API_KEY)
        assert (
            refused.json()["detail"]
            == "target=None must be given with an API key: a token, a W3C traceparent or a response id"
        )

    @kinds
    def test_signals_are_withdrawn(self, api, kind, telemetry):
        """By id, and where that is old by target and name."""
        gone = api.request(
            "DELETE", "/own", headers={"x-api-key": API_KEY}, params={"target": REF.traceparent, "name": "stars"}
        )
        assert (gone.status_code, gone.json()["feedback_id"]) == (202, "own")
        assert telemetry.feedback[0].span_id == REF.span_id

    @kinds
    def test_api_keys_alone_need_no_token_keys(self, kind, telemetry, configure):
        """Tokens are not taken then."""
        configure(token_keys=())
        api = Api(kind, api_keys=[API_KEY])
        assert api.post({"score": 1, "target": REF.traceparent}, x_api_key=API_KEY).status_code == 202
        assert api.post({"score": 1}, REF.token(keys=[KEY])).json()["detail"] == "tokens are not taken here"

    def test_keys_that_are_none_are_refused_and_not_shown(self, configure):
        """Short ones can be guessed."""
        for keys in (["short"], API_KEY):
            with pytest.raises(InvalidSetting) as raised:
                feedback_app("asgi", api_keys=keys)
            assert str(raised.value) == "api_keys='<api keys>' must be a list of texts of at least 32 characters"


class TestUsers:
    """Tokens that are bound to a user."""

    @kinds
    def test_the_app_says_who_it_is(self, kind, telemetry):
        """Its word counts, and nobody needs to say it again."""
        api = Api(kind, user_of=lambda given: "anna")
        token = REF.token(user_id="anna")
        assert api.post({"score": 1}, token).status_code == 202
        assert api.post({"score": 1, "user_id": "anna"}, token).status_code == 202
        assert api.post({"score": 1, "user_id": "bob"}, token).status_code == 403
        assert api.post({"score": 1}, REF.token(user_id="bob")).status_code == 403
        assert api.post({"score": 1}, REF.token()).status_code == 202
        assert {bool(row.attributes["feedback.user.hash"]) for row in telemetry.feedback} == {True}

    @kinds
    def test_where_the_app_cannot_say_it_nobody_is_the_user(self, kind, telemetry):
        """What it raises is no answer."""
        api = Api(kind, user_of=lambda given: given["nobody"])
        assert api.post({"score": 1}, REF.token(user_id="anna")).status_code == 403
        assert api.post({"score": 1}, REF.token()).status_code == 202


class TestOrigins:
    """Which pages may give feedback."""

    PAGE = "https://app.example.com"

    @kinds
    def test_an_allowed_page_may_read_the_answer(self, kind, telemetry):
        """Also when it is refused for another reason."""
        api = Api(kind, origins=[self.PAGE])
        for score, status in ((1, 202), (9, 422)):
            done = api.post({"score": score}, REF.token(), origin=self.PAGE)
            assert (done.status_code, done.headers["access-control-allow-origin"]) == (status, self.PAGE)
            assert "access-control-allow-credentials" not in done.headers

    @kinds
    def test_a_preflight_says_what_may_be_sent(self, kind, telemetry):
        """Before the request itself."""
        api = Api(kind, origins=[self.PAGE])
        headers = {"origin": self.PAGE, "access-control-request-method": "POST"}
        for path in ("/", "/batch", "/some-id"):
            answer = api.request("OPTIONS", path, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE"
            assert answer.headers["access-control-allow-headers"] == "authorization, content-type, x-feedback-token"

    @kinds
    def test_pages_of_the_same_host_need_not_be_listed(self, kind, telemetry):
        """Whether or not a proxy ends TLS."""
        for origin in ("http://host", "https://host"):
            assert Api(kind).post({"score": 1}, REF.token(), origin=origin).status_code == 202

    @kinds
    def test_a_star_allows_every_page(self, kind, telemetry):
        """There is no cookie to be afraid for."""
        assert Api(kind, origins=["*"]).post({"score": 1}, REF.token(), origin="https://x.example").status_code == 202

    @pytest.mark.parametrize(
        "origins",
        [
            "https://a.example",
            ["app.example.com"],
            ["https://a.example/"],
            ["https://A.example"],
            [7],
            ["http://[x"],
            ["https://ä.example"],
        ],
    )
    def test_what_is_no_origin_is_refused(self, origins, configure):
        """Where the endpoint is set up."""
        with pytest.raises(InvalidSetting, match="must be a list of origins such as"):
            feedback_app("asgi", origins=origins)


class TestStatic:
    """What can be read."""

    @kinds
    def test_health_and_document(self, api, kind):
        """Without a token, by GET and HEAD."""
        assert api.request("GET", "/healthz").json() == {"status": "ok"}
        head = api.request("HEAD", "/healthz")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "15")
        got = api.request("GET", "/openapi.json")
        assert got.json() == json.loads(json.dumps(document()))
        assert got.headers["access-control-allow-origin"] == "*"

    @kinds
    def test_the_browser_module_is_served_once(self, api, kind, monkeypatch, tmp_path):
        """A browser that has it is told so."""
        file = tmp_path / "feedback.js"
        file.write_text("export {}")
        monkeypatch.setattr("spanback.web._static.SCRIPT", file)
        _read.cache_clear()
        first = api.request("GET", "/feedback.js")
        assert (first.status_code, first.text) == (200, "export {}")
        assert first.headers["content-type"] == "text/javascript; charset=utf-8"
        again = api.request("GET", "/feedback.js", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        file.unlink()
        _read.cache_clear()
        assert api.request("GET", "/feedback.js").status_code == 404
        _read.cache_clear()

    def test_the_module_is_looked_for_in_the_package(self):
        """Where the wheel has it."""
        assert SCRIPT.parts[-3:] == ("web", "static", "feedback.js")


class TestTrouble:
    """When something that is needed is not there."""

    @kinds
    def test_a_counter_that_fails_lets_nobody_through(self, kind, telemetry, caplog):
        """Uses that cannot be counted might be too many."""

        class Broken:
            def use(self, token_id: str, expires_in_s: int) -> int:
                raise ConnectionError("redis://:secret@host")

        caplog.set_level(logging.INFO)
        api = Api(kind, uses=Broken())
        refused = api.post({"score": 1}, REF.token(max_uses=1))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "secret" not in refused.text + caplog.text
        assert api.post({"score": 1}, REF.token()).status_code == 202
        assert len(telemetry.feedback) == 1

    @kinds
    @pytest.mark.parametrize("action", ["give", "batch", "withdraw"])
    def test_what_cannot_be_committed_is_not_accepted(self, action, kind, telemetry, monkeypatch):
        """The client is asked to try again, with the same id."""

        def fail(*_: Any, **__: Any) -> Any:
            raise SpoolUnavailable("/secret/path", "the disk is full")

        for name in ("record", "record_all", "retract_feedback"):
            monkeypatch.setattr(f"spanback.web._signals.{name}", fail)
        api = Api(kind)
        refused = {
            "give": lambda: api.post({"score": 1}, REF.token()),
            "batch": lambda: api.post({"signals": [{"score": 1}] * 2}, REF.token(), "/batch"),
            "withdraw": lambda: api.request("DELETE", "/v", headers={"x-feedback-token": REF.token()}),
        }[action]()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "path" not in refused.text

    def test_without_any_key_the_endpoint_is_not_made(self, configure):
        """The first request would be too late."""
        configure(token_keys=())
        with pytest.raises(MissingTokenKey, match="spanback keys new"):
            feedback_app("asgi")

    @pytest.mark.parametrize(
        ("option", "value"), [("rate_per_token", "often"), ("rate_per_address", 7), ("rate_store", "nowhere://secret")]
    )
    def test_options_that_are_not_understood_are_named(self, option, value, configure):
        """And an address that may hold a password is not shown."""
        with pytest.raises(InvalidSetting) as raised:
            feedback_app("wsgi", **{option: value})
        assert str(raised.value).startswith(f"{option}=")
        assert "secret" not in str(raised.value)


@kinds
def test_what_is_left_out_is_said(kind, telemetry, configure):
    """Comments while content capture is off."""
    configure(feedback_content=False)
    assert Api(kind).post({"comment": "Right!"}, REF.token()).json()["omitted"] == ["comment"]


@kinds
def test_keys_and_audience_of_the_app_go_before_those_of_the_environment(kind, telemetry):
    """Ed25519 keys, too."""
    api = Api(kind, keys=[OTHER_KEY, ED25519_KEY], audience="shop")
    assert api.post({"score": 1}, REF.token(keys=[ED25519_KEY], audience="shop")).status_code == 202
    assert api.post({"score": 1}, REF.token(keys=[OTHER_KEY], audience="shop")).status_code == 202
    assert api.post({"score": 1}, REF.token(keys=[KEY], audience="shop")).status_code == 401
    assert api.post({"score": 1}, REF.token(keys=[OTHER_KEY])).status_code == 401


def test_the_fields_are_the_arguments_of_record_feedback():
    """No argument is forgotten, and none made up."""
    arguments = set(inspect.signature(record_feedback).parameters) - {"signal", "placement"}
    assert set(FIELDS) - arguments == {"token", "rejected", "rejected_choice"}
    assert arguments - set(FIELDS) == set()


class Drops:
    """A body of a WSGI server that comes in pieces, or not."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int) -> bytes:
        """The next piece."""
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece


@pytest.mark.parametrize(
    ("pieces", "length", "terminated", "status"),
    [
        ([b'{"score"', b":1}"], "11", False, 202),
        ([b'{"score"', b":1}"], "", True, 202),
        ([b'{"score":1}'], "", False, 400),
        ([b'{"score":1}'], "12", False, 400),
        ([b"{", ConnectionResetError()], "11", False, 400),
        ([b"{", TimeoutError()], "11", False, 408),
        ([b" " * 200_000] * 2, "", True, 413),
    ],
)
def test_a_wsgi_body_is_read_to_its_end_and_no_further(pieces, length, terminated, status, telemetry):
    """By its length, or where the server ends it."""
    begun: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": length,
        "HTTP_AUTHORIZATION": f"Bearer {REF.token()}",
        "wsgi.input": Drops(*pieces),
        "wsgi.input_terminated": terminated,
    }
    feedback_app("wsgi")(environ, lambda line, headers: begun.append(line))
    assert [int(line.split()[0]) for line in begun] == [status]
    assert len(telemetry.feedback) == (status == 202)


def test_a_wsgi_body_that_drips_is_given_up(telemetry, monkeypatch):
    """Also where the server's socket is not known."""
    clock = [0.0]
    monkeypatch.setattr("spanback.web.wsgi.time.monotonic", lambda: clock.__setitem__(0, clock[0] + 1) or clock[0])
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "100",
        "HTTP_AUTHORIZATION": f"Bearer {REF.token()}",
        "wsgi.input": Drops(*[b" "] * 100),
    }
    begun: list[str] = []
    feedback_app("wsgi")(environ, lambda line, headers: begun.append(line))
    assert begun == ["408 Request Timeout"]


class TestAddresses:
    """Who sends a request, seen through proxies."""

    @pytest.mark.parametrize(
        ("proxies", "hops", "expected"),
        [
            (0, "1.1.1.1", "9.9.9.9"),
            (1, "1.1.1.1", "1.1.1.1"),
            (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
            (2, "1.1.1.1", "9.9.9.9"),
            (1, None, "9.9.9.9"),
            (1, " ", "9.9.9.9"),
        ],
    )
    def test_only_your_own_proxies_are_believed(self, proxies, hops, expected):
        """What stands before their entries anybody may have written."""
        from spanback.web.asgi import head_of as of_scope
        from spanback.web.wsgi import head_of as of_environ

        headers = [] if hops is None else [(b"x-forwarded-for", hops.encode())]
        scope = {"method": "POST", "path": "/", "headers": headers, "client": ("9.9.9.9", 1)}
        environ = {
            "REQUEST_METHOD": "POST",
            "REMOTE_ADDR": "9.9.9.9",
            **({} if hops is None else {"HTTP_X_FORWARDED_FOR": hops}),
        }
        assert (of_scope(scope, proxies).address, of_environ(environ, proxies).address) == (expected, expected)

    @pytest.mark.parametrize(
        ("address", "other", "is_one"),
        [
            ("1.1.1.1", "1.1.1.2", False),
            ("2001:db8::1", "2001:db8::2", True),
            ("2001:db8::1%eth0", "2001:db8::2", True),
            ("2001:db8::1", "2001:db9::1", False),
            ("::ffff:1.1.1.1", "::ffff:1.1.1.2", False),
            ("::ffff:1.1.1.1", "1.1.1.1", True),
            ("1.1.1.1:80", "1.1.1.1:81", True),
            ("[2001:db8::1]:80", "[2001:db8::2]:81", True),
            ("[2001:db8::1]", "2001:db9::1", False),
            ("a:b", "a:c", False),
        ],
    )
    def test_a_network_of_ipv6_is_one_address(self, address, other, is_one, configure):
        """One customer has as many as he wants; of IPv4, each address is one, whichever way it is written."""
        from spanback.web._http import Response

        endpoint = Endpoint(Options(rate_per_address="1/minute"))
        sent = {"content-type": "application/json"}
        assert not isinstance(endpoint.begin(Head("POST", "/", "", sent, address)), Response)
        assert isinstance(endpoint.begin(Head("POST", "/", "", sent, other)), Response) == is_one

    def test_headers_that_come_twice_are_one(self, configure):
        """As HTTP reads them."""
        from spanback.web.asgi import head_of

        scope = {
            "method": "POST",
            "path": "/shop/x",
            "root_path": "/shop",
            "headers": [(b"Origin", b"a"), (b"origin", b"b")],
        }
        head = head_of(scope, 0)
        assert (head.headers["origin"], head.path, head.address) == ("a, b", "/x", "")


class TestCounters:
    """Counts in this process are bounded."""

    def test_uses_of_the_oldest_tokens_are_forgotten(self):
        """More than that are not kept."""
        uses = MemoryUses(limit=2)
        assert [uses.use(name, 9) for name in ("a", "a", "b", "c", "a")] == [1, 2, 1, 1, 1]

    def test_rates_count_in_windows(self, monkeypatch):
        """Each begins with its first hit; the oldest counters go first."""
        now = [1_000.0]
        monkeypatch.setattr("spanback.web._limits.time.time", lambda: now[0])
        store = BoundedMemory(limit=2)
        assert [store.count("a", 10), store.count("a", 10)] == [(1, 1_010.0), (2, 1_010.0)]
        now[0] += 11
        assert [store.count("a", 10), store.count("b", 5), store.count("b", 5)] == [(1, 1_021), (1, 1_016), (2, 1_016)]
        assert [store.count("c", 10), store.count("a", 10)] == [(1, 1_021), (1, 1_021)]

    @kinds
    def test_without_rates_nothing_is_counted(self, kind, telemetry):
        """For apps that stand behind something that does."""
        api = Api(kind, rate_per_token=None, rate_per_address=None)
        assert {api.post({"score": 1}, REF.token()).status_code for _ in range(5)} == {202}


async def test_a_feedback_app_has_a_lifespan_and_no_websocket(configure):
    """Served alone, the server starts and stops it."""
    from tests.web.test_middleware import events_of

    app = feedback_app("asgi")
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(TypeError, match="takes HTTP, not websocket"):
        await events_of(app, {"type": "websocket"})


def test_slow_emission_moves_into_a_thread_and_back(telemetry, monkeypatch):
    """The event loop goes on while an exporter takes its time."""
    threads: list[str] = []
    clock, takes_s = [0.0], [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Slow(SpanProcessor):
        def on_end(self, span: Any) -> None:
            threads.append(threading.current_thread().name)
            clock[0] += takes_s[0]

    telemetry.tracer_provider.add_span_processor(Slow())
    app = feedback_app("asgi")

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            for takes_s[0] in (*[0.0] * 5, 0.01, 0.0, 9.0, *[0.0] * 3, *[0.02] * 3, *[0.0] * 5):
                assert (await client.post("/", json={"score": 1, "token": REF.token()})).status_code == 202

    asyncio.run(ask())
    in_thread = "".join("t" if name.startswith("spanback-feedback") else "l" for name in threads)
    # What one takes is not known at first. One that is a little slow says nothing, a very slow one or several do.
    assert in_thread == "tttt" + "lll" + "lttt" + "ltt" + "ttttl"


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b'{"score":1}', None], 400),
        ([b'{"score":1}'], 408),
        ([b" " * 200_000] * 2, 413),
    ],
    ids=["cut off", "slow", "long"],
)
def test_an_asgi_body_that_does_not_come_to_its_end_is_not_recorded(pieces, status, telemetry):
    """Though what has come may be JSON."""
    sent: list[Any] = []
    messages = iter(pieces)

    async def receive() -> Any:
        for piece in messages:
            if piece is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": True}
        return await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {REF.token()}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": None}
    asyncio.run(feedback_app("asgi", body_timeout_s=0.05)(scope, receive, send))
    assert sent[0]["status"] == status
    assert telemetry.feedback == ()


@pytest.mark.parametrize("is_patient", [True, False])
def test_whoever_gives_up_a_request_gives_up_the_reading_of_its_body(is_patient, telemetry):
    """What takes the body is told as if it had been awaited all along, and may still wait to clean up."""
    told: list[str] = []

    async def receive() -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            await asyncio.sleep(0)
            told.append("cleaned up")
            if not is_patient:
                raise
        return {"type": "http.request", "body": b'{"score": 1}'}

    async def send(message: Any) -> None:
        told.append(message.get("status"))

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {REF.token()}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": None}

    async def ask() -> None:
        asking = asyncio.create_task(feedback_app("asgi")(scope, receive, send))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled() is not is_patient

    asyncio.run(ask())
    assert told[:2] == ["cancelled", "cleaned up"]
    assert (202 in told, len(telemetry.feedback)) == (is_patient, int(is_patient))


def test_a_wsgi_server_s_socket_gets_its_timeout_back(telemetry):
    """It is lent for the time of the body."""
    one, other = socket.socketpair()
    with one, other, one.makefile("rb") as stream:
        one.settimeout(7)
        other.sendall(b'{"score":')
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": "100",
            "HTTP_AUTHORIZATION": f"Bearer {REF.token()}",
            "wsgi.input": stream,
        }
        begun: list[str] = []
        feedback_app("wsgi", body_timeout_s=0.05)(environ, lambda line, headers: begun.append(line))
        assert (begun, one.gettimeout()) == (["408 Request Timeout"], 7)
    assert telemetry.feedback == ()


def test_unknown_spans_stay_out():
    """A token that names no span is refused like a forged one."""
    from tests.web.test_tokens import GOOD, signed

    app = feedback_app("asgi", keys=[KEY])
    bad = signed({name: value for name, value in GOOD.items() if name != "t"})
    answer = request(app, "asgi", "POST", "/", json={"score": 1, "token": bad})
    assert (answer.status_code, answer.json()["detail"]) == (401, "the token names no span")
