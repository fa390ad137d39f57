"""Responses for which a model was called take a token along, in every framework; others are not touched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import django
import flask
import httpx
import pytest
from django.conf import settings as django_settings
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from spanback import InvalidSetting, MissingTokenKey, SpanRef, _settings, _tokens
from spanback._token_keys import read_keys
from spanback.web import _handing, handle, issue_token
from spanback.web.asgi import FeedbackMiddleware
from spanback.web.frameworks import add_feedback
from spanback.web.wsgi import FeedbackMiddleware as WsgiMiddleware
from tests.instrumentation.driving import MESSAGES, MODEL, make_client
from tests.web.clients import request
from tests.web.conftest import KEY, REF


@pytest.fixture
def model(instrument, server) -> Iterator[Any]:
    """A client that is instrumented, and a key for tokens."""
    instrument()
    _settings.use(_settings.current()._replace(token_keys=(KEY,)))
    with make_client(server) as client:
        yield client


def ask(client: Any, **more: Any) -> Any:
    """A call of the model."""
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, **more)


def ref_in(answer: httpx.Response) -> SpanRef:
    """The span that the token of a response is for."""
    return SpanRef.from_claims(_tokens.verify(answer.headers["x-feedback-token"], keys=read_keys((KEY,))).rated)


def fastapi_app(model: Any) -> Any:
    """An app that calls the model in sync handlers, in async ones and in streams."""
    app = FastAPI()
    add_feedback(app)

    @app.get("/chat")
    def chat() -> dict[str, Any]:
        return {"text": ask(model).choices[0].message.content}

    @app.get("/none")
    async def none() -> dict[str, str]:
        return {"text": "no model"}

    @app.get("/embed")
    def embed() -> dict[str, int]:
        return {"count": len(model.embeddings.create(model=MODEL, input="x", encoding_format="float").data)}

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(chunk.id for chunk in ask(model, stream=True))

    @app.get("/late")
    def late() -> StreamingResponse:
        return StreamingResponse(
            (chunk.id for _ in range(1) for chunk in ask(model, stream=True)), media_type="text/plain"
        )

    @app.get("/events")
    def events() -> StreamingResponse:
        def lines() -> Iterator[str]:
            yield "event: hello\ndata: 1\n\n"
            for chunk in ask(model, stream=True):
                yield f"data: {chunk.id}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    return app


def starlette_app(model: Any) -> Any:
    """The same in Starlette."""

    def text(path: str, make: Callable[[], Any]) -> Route:
        return Route(path, lambda _: make())

    def lines() -> Iterator[str]:
        yield "event: hello\ndata: 1\n\n"
        for chunk in ask(model, stream=True):
            yield f"data: {chunk.id}\n\n"

    def embed() -> PlainTextResponse:
        return PlainTextResponse(str(len(model.embeddings.create(model=MODEL, input="x").data)))

    routes = [
        text("/chat", lambda: PlainTextResponse(ask(model).choices[0].message.content)),
        text("/none", lambda: PlainTextResponse("no model")),
        text("/embed", embed),
        text("/stream", lambda: StreamingResponse(chunk.id for chunk in ask(model, stream=True))),
        text("/late", lambda: StreamingResponse(chunk.id for _ in range(1) for chunk in ask(model, stream=True))),
        text("/events", lambda: StreamingResponse(lines(), media_type="text/event-stream")),
    ]
    return add_feedback(Starlette(routes=routes))


def flask_app(model: Any) -> Any:
    """The same in Flask."""
    app = flask.Flask(__name__)
    app.add_url_rule("/chat", "chat", lambda: {"text": ask(model).choices[0].message.content})
    app.add_url_rule("/none", "none", lambda: {"text": "no model"})
    app.add_url_rule(
        "/embed",
        "embed",
        lambda: {"count": len(model.embeddings.create(model=MODEL, input="x", encoding_format="float").data)},
    )
    app.add_url_rule("/stream", "stream", lambda: flask.Response(chunk.id for chunk in ask(model, stream=True)))
    app.add_url_rule(
        "/late", "late", lambda: flask.Response(chunk.id for _ in range(1) for chunk in ask(model, stream=True))
    )

    def lines() -> Iterator[str]:
        yield "event: hello\ndata: 1\n\n"
        for chunk in ask(model, stream=True):
            yield f"data: {chunk.id}\n\n"

    app.add_url_rule("/events", "events", lambda: flask.Response(lines(), mimetype="text/event-stream"))
    return add_feedback(app)


def django_app(model: Any, *, is_async: bool) -> Any:
    """The same in Django."""
    from django.http import JsonResponse, StreamingHttpResponse
    from django.urls import path

    if not django_settings.configured:
        django_settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="", MIDDLEWARE=[], USE_TZ=True)
        django.setup()

    def lines() -> Iterator[str]:
        yield "event: hello\ndata: 1\n\n"
        for chunk in ask(model, stream=True):
            yield f"data: {chunk.id}\n\n"

    urls: Any = ModuleType("urls")
    urls.urlpatterns = [
        path("chat", lambda _: JsonResponse({"text": ask(model).choices[0].message.content})),
        path("none", lambda _: JsonResponse({"text": "no model"})),
        path(
            "embed",
            lambda _: JsonResponse(
                {"count": len(model.embeddings.create(model=MODEL, input="x", encoding_format="float").data)}
            ),
        ),
        path("stream", lambda _: StreamingHttpResponse(chunk.id for chunk in ask(model, stream=True))),
        path(
            "late",
            lambda _: StreamingHttpResponse(chunk.id for _ in range(1) for chunk in ask(model, stream=True)),
        ),
        path("events", lambda _: StreamingHttpResponse(lines(), content_type="text/event-stream")),
    ]

    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.urls import clear_url_caches, set_urlconf

    django_settings.ROOT_URLCONF = urls
    clear_url_caches()
    set_urlconf(None)
    return add_feedback((get_asgi_application if is_async else get_wsgi_application)())


FRAMEWORKS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "fastapi": ("asgi", fastapi_app),
    "starlette": ("asgi", starlette_app),
    "flask": ("wsgi", flask_app),
    "django": ("wsgi", lambda model: django_app(model, is_async=False)),
    "django async": ("asgi", lambda model: django_app(model, is_async=True)),
}
# Under ASGI, Django gathers a sync stream before it sends anything, and warns of it.
frameworks = pytest.mark.parametrize("name", FRAMEWORKS)
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")


@pytest.fixture
def get(model) -> Callable[..., httpx.Response]:
    """Asks an app of a framework."""

    def ask_app(name: str, path: str, **more: Any) -> httpx.Response:
        kind, make = FRAMEWORKS[name]
        return request(make(model), kind, more.pop("method", "GET"), path, **more)

    return ask_app


@frameworks
@pytest.mark.parametrize("path", ["/chat", "/stream", "/late"])
def test_the_response_takes_a_token_along(name, path, get, memory):
    """For the span of the call, also where headers leave before the model has answered."""
    answer = get(name, path)
    assert answer.status_code == 200
    ref = ref_in(answer)
    span = memory.span.get_span_context()
    assert (ref.trace_id, ref.span_id) == (span.trace_id, span.span_id)
    assert (ref.request_model, ref.provider_name) == (MODEL, "openai")
    assert ref.response_id == "chatcmpl-000001"
    assert answer.headers["x-feedback-url"] == "/feedback"
    assert answer.headers["traceresponse"] == ref.traceparent
    assert answer.headers["access-control-expose-headers"] == "X-Feedback-Token, X-Feedback-Url, traceresponse"


@frameworks
@pytest.mark.parametrize("path", ["/none", "/embed", "/missing"])
def test_other_responses_are_as_they_were(name, path, get, model):
    """Without a call that answers somebody there is nothing to rate."""
    answer = get(name, path)
    assert not [header for header in answer.headers if "feedback" in header or header == "traceresponse"]


@pytest.mark.parametrize("name", ["fastapi", "starlette", "flask", "django"])
def test_an_event_stream_has_an_event_that_holds_the_token(name, get, memory):
    """Between two events of the app, as soon as the model is called, in one piece."""
    answer = get(name, "/events")
    events = answer.text.split("\n\n")
    assert events[0] == "event: hello\ndata: 1"
    kind, data = events[1].split("\n")
    assert kind == "event: feedback"
    given = json.loads(data.removeprefix("data: "))
    assert given.keys() == {"token", "url", "expires_at", "traceparent"}
    span = memory.span.get_span_context()
    assert SpanRef.from_claims(_tokens.verify(given["token"], keys=read_keys((KEY,))).rated).span_id == span.span_id
    assert answer.text.count("event: feedback") == 1
    assert events[2].startswith("data: chatcmpl-")


@frameworks
def test_the_endpoint_is_there(name, get, memory):
    """What the response hands out is taken at the path that it names."""
    token = get(name, "/chat").headers["x-feedback-token"]
    for path in ("/feedback", "/feedback/"):
        done = get(name, path, method="POST", json={"score": 1, "token": token})
        assert (done.status_code, done.json()["status"]) == (202, "recorded")
    assert get(name, "/feedback/healthz").json() == {"status": "ok"}
    assert get(name, "/feedbackhealthz").status_code == 404
    rated = [span for span in memory.spans if span.name == "feedback user_feedback"]
    assert len(rated) == 2


async def events_of(app: Any, scope: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What an ASGI app sends."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = scope or {"type": "http", "method": "GET", "path": "/", "headers": []}
    await app(scope, receive, send)
    return sent


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """The begin of a response."""
    return {"type": "http.response.start", "status": 200, "headers": list(headers)}


async def test_what_the_app_says_itself_stays(model):
    """Its own traceresponse, and what it exposes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(ask, model)
        await send(start((b"traceresponse", b"00-own"), (b"Access-Control-Expose-Headers", b"X-Own")))
        await send({"type": "http.response.body", "body": b"x"})

    begin, body = await events_of(FeedbackMiddleware(app, url="https://api.example.com/fb"))
    headers = dict(begin["headers"])
    assert headers[b"traceresponse"] == b"00-own"
    assert headers[b"access-control-expose-headers"] == b"X-Own, X-Feedback-Token, X-Feedback-Url, traceresponse"
    assert headers[b"x-feedback-url"] == b"https://api.example.com/fb"
    assert body == {"type": "http.response.body", "body": b"x"}


async def test_an_event_is_only_put_between_two(model):
    """Not into one that is still being sent, nor into what is compressed or has its length said."""
    pieces = [b"", b"data: 1", b"\n\n", b"data: 2\n\n", b""]

    def app_with(*headers: tuple[bytes, bytes]) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start((b"content-type", b"text/event-stream; charset=utf-8"), *headers))
            for number, piece in enumerate(pieces):
                if number == 2:
                    await asyncio.to_thread(ask, model)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})

        return FeedbackMiddleware(app)

    sent = [event.get("body", b"") for event in (await events_of(app_with()))[1:]]
    assert sent[:3] == pieces[:3]
    assert sent[3].startswith(b"event: feedback\ndata: {")
    assert sent[3].endswith(b"}\n\ndata: 2\n\n")
    for header in ((b"content-encoding", b"gzip"), (b"content-length", b"20")):
        assert [event.get("body") for event in (await events_of(app_with(header)))[1:-1]] == pieces
    silent = FeedbackMiddleware(app_with()._app, events=False)
    assert [event.get("body") for event in (await events_of(silent))[1:-1]] == pieces


async def test_what_is_no_http_goes_through(model):
    """WebSockets and the lifespan."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await events_of(add_feedback(app), {"type": "websocket", "path": "/feedback"})
    await events_of(add_feedback(app), {"type": "lifespan"})
    assert seen == ["websocket", "lifespan"]


async def test_a_response_without_a_body_still_begins(model):
    """Whatever the app does, what it said is sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())

    assert await events_of(FeedbackMiddleware(app)) == [start()]


async def test_two_requests_at_once_get_their_own_tokens(model, memory):
    """Each is for the call of its own request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.001 * scope["n"])
        response = await asyncio.to_thread(ask, model)
        await asyncio.sleep(0.001 * (10 - scope["n"]))
        await send(start((b"x-id", response.id.encode())))
        await send({"type": "http.response.body"})

    middleware = FeedbackMiddleware(app)
    scopes = [{"type": "http", "method": "GET", "path": "/", "headers": [], "n": n} for n in range(10)]
    for sent in await asyncio.gather(*(events_of(middleware, scope) for scope in scopes)):
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        claims = _tokens.verify(headers["x-feedback-token"], keys=read_keys((KEY,)))
        assert SpanRef.from_claims(claims.rated).response_id == headers["x-id"]


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_token_is_for_the_user_and_the_signals_that_the_app_names(kind, model):
    """And as long and as often as it says. For a visitor whom the app does not know it is for whoever gets it."""
    terms = {"signals": ["user_thumbs"], "expires_in_s": 60, "max_uses": 2, "audience": "shop"}
    name = "fastapi" if kind == "asgi" else "flask"
    for user_of, is_bound in ((lambda given: "anna", True), (lambda given: None, False)):
        bare: Any = Starlette(routes=[Route("/chat", plain(model))]) if kind == "asgi" else flask_plain(model)
        app = add_feedback(bare, user_of=user_of, **terms)
        token = request(app, kind, "GET", "/chat").headers["x-feedback-token"]
        claims = _tokens.verify(token, keys=read_keys((KEY,)), audience="shop")
        assert (claims.signals, claims.max_uses, claims.expires_at - claims.issued_at) == ({"user_thumbs"}, 2, 60)
        assert (claims.is_for("bob"), claims.is_for("anna")) == (not is_bound, True), name


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_where_nobody_can_say_who_is_asking_no_token_is_handed_out(kind, model, caplog):
    """A token for whoever gets it is not what such an app wants; it is told so once, and what to do."""
    _handing._say_unknown.cache_clear()
    bare: Any = Starlette(routes=[Route("/chat", plain(model))]) if kind == "asgi" else flask_plain(model)
    app = add_feedback(bare, user_of=lambda given: given["nothing"])
    for _ in range(2):
        response = request(app, kind, "GET", "/chat")
        assert response.status_code == 200
        assert {"x-feedback-token", "x-feedback-url", "traceresponse"}.isdisjoint(response.headers)
    (said,) = [record for record in caplog.records if record.name == "spanback.web"]
    assert (said.levelname, said.getMessage().partition(",")[0]) == ("WARNING", "user_of raised")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("options", "url"), [({}, "/rate"), ({"url": "https://host/shop/rate"}, "https://host/shop/rate")]
)
def test_browsers_are_told_where_the_endpoint_is(options, url, kind, model):
    """At its path, unless a proxy before the app has it elsewhere."""
    bare: Any = Starlette(routes=[Route("/chat", plain(model))]) if kind == "asgi" else flask_plain(model)
    app = add_feedback(bare, "/rate", **options)
    assert request(app, kind, "GET", "/chat").headers["x-feedback-url"] == url
    assert request(app, kind, "GET", "/rate/healthz").status_code == 200


def plain(model: Any) -> Any:
    """A handler of Starlette."""
    from starlette.responses import PlainTextResponse

    def chat(_: Any) -> PlainTextResponse:
        return PlainTextResponse(ask(model).id)

    return chat


def flask_plain(model: Any) -> Any:
    """The same in Flask."""
    app = flask.Flask(__name__)
    app.add_url_rule("/chat", "chat", lambda: ask(model).id)
    return app


class TestWsgi:
    """What only WSGI has."""

    def run(self, app: Any, **environ: Any) -> tuple[list[Any], bytes]:
        """What a WSGI app sends."""
        begun: list[Any] = []
        written: list[bytes] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            begun.append((status, dict(headers), exc_info))
            return written.append

        result = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}, start_response)
        pieces = list(result)
        getattr(result, "close", lambda: None)()
        return begun, b"".join([*written, *pieces])

    def test_apps_that_write_get_their_headers_first(self, model):
        """The old way of WSGI."""

        def app(environ: Any, start_response: Any) -> Any:
            write = start_response("200 OK", [("Content-Type", "text/event-stream")])
            ask(model)
            write(b"data: 1\n\n")
            write(b"data: 2\n\n")
            return iter(())

        begun, body = self.run(WsgiMiddleware(app))
        assert [status for status, *_ in begun] == ["200 OK"]
        assert "X-Feedback-Token" in begun[0][1]
        assert body.startswith(b"event: feedback\n")
        assert body.endswith(b"\n\ndata: 1\n\ndata: 2\n\n")

    def test_an_error_replaces_what_has_not_left(self, model):
        """And goes to the server once it has."""

        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            start_response("500 Oops", [], ("kind", "error", None))
            yield b"x"
            start_response("501 Late", [], ("kind", "late", None))

        begun, body = self.run(WsgiMiddleware(app))
        assert [(status, exc_info) for status, _, exc_info in begun] == [
            ("500 Oops", ("kind", "error", None)),
            ("501 Late", ("kind", "late", None)),
        ]
        assert body == b"x"

    def test_lists_and_files_reach_the_server_as_they_are(self, model):
        """It knows their lengths, and how to send files."""

        class File(list[bytes]):
            """What a server wraps files in."""

        for result in ([b"x"], (b"x",), File([b"x"])):

            def app(environ: Any, start_response: Any, result: Any = result) -> Any:
                start_response("200 OK", [])
                return result

            given = WsgiMiddleware(app)({"wsgi.file_wrapper": File}, lambda *_: None)
            assert given is result

    def test_a_stream_that_ends_at_once_still_begins_and_is_closed(self, model):
        """Whatever the app does, what it said is sent."""
        closed = []

        class Empty:
            def __iter__(self) -> Any:
                return iter([b""])

            def close(self) -> None:
                closed.append(True)

        def app(environ: Any, start_response: Any) -> Any:
            start_response("204 No Content", [])
            return Empty()

        begun, body = self.run(WsgiMiddleware(app))
        assert (begun[0][0], body, closed) == ("204 No Content", b"", [True])

    def test_an_app_that_says_nothing_sends_nothing(self, model):
        """The server knows what to do with that."""
        assert self.run(WsgiMiddleware(lambda environ, start_response: iter(()))) == ([], b"")


class TestSettingUp:
    """What is wrong is said where the app is put together."""

    def test_without_a_key_the_middleware_is_not_made(self, configure):
        """The first response would be too late."""
        configure(token_keys=())
        for make in (FeedbackMiddleware, WsgiMiddleware, add_feedback):
            with pytest.raises(MissingTokenKey, match="spanback keys new"):
                make(lambda *_: None)

    @pytest.mark.parametrize("path", ["feedback", "/feedback/", ""])
    def test_a_path_that_is_none_is_refused(self, path, configure):
        """It begins with a slash and does not end with one."""
        with pytest.raises(InvalidSetting, match="must begin with a slash and not end with one"):
            add_feedback(FastAPI(), path)

    def test_what_is_no_app_is_refused(self, configure):
        """By its kind."""
        with pytest.raises(InvalidSetting, match="must be a FastAPI, Starlette or Flask app"):
            add_feedback(7)


class TestHandle:
    """`handle` and `issue_token`, for an app's own JSON."""

    def test_a_handle_says_all_that_a_browser_needs(self, configure, monkeypatch):
        """Token, address, end, and which span."""
        monkeypatch.setattr("time.time", lambda: 1_760_000_000.5)
        given = handle(REF, url="/fb", expires_in_s=60)
        assert given == {
            "token": REF.token(expires_in_s=60),
            "url": "/fb",
            "expires_at": "2025-10-09T08:54:20+00:00",
            "traceparent": REF.traceparent,
        }

    def test_a_response_of_no_known_span_has_no_token(self, configure):
        """An app without telemetry goes on."""
        assert issue_token({"id": "unknown"}) is None
        assert handle({"id": "unknown"}) == {"token": None, "url": "/feedback", "expires_at": None, "traceparent": None}

    def test_a_response_of_the_client_gets_a_token(self, model, memory):
        """With its id and model."""
        response = ask(model)
        ref = SpanRef.from_claims(_tokens.verify(issue_token(response), keys=read_keys((KEY,))).rated)
        assert (ref.response_id, ref.span_id) == (response.id, memory.span.get_span_context().span_id)
