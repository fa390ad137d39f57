"""Cohere, v1 and v2 of its API."""

from __future__ import annotations

from typing import Any

import cohere
import httpx

from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireAnswer, WireRequest, WireServer, as_json, as_lines, as_sse

MESSAGES = [{"role": "user", "content": "When should I visit Kyoto?"}]
ANSWER = "In April."
WORDS = ("In", " April", ".")
V2_USAGE = {
    "billed_units": {"input_tokens": 7, "output_tokens": 4},
    "tokens": {"input_tokens": 72.0, "output_tokens": 6.0},
    "cached_tokens": 64.0,
}
V1_META = {
    "api_version": {"version": "1"},
    "billed_units": {"input_tokens": 7.0, "output_tokens": 4.0},
    "tokens": {"input_tokens": 72.0, "output_tokens": 6.0},
}
BILLED = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 5.0, "output_tokens": 4.0}}
ONCE: Any = {"max_retries": 0}


class Client(cohere.ClientV2):
    """A client of v2, and one of v1, that share what is to be closed."""

    def __init__(self, base_url: str) -> None:
        self.transport = httpx.Client()
        given: Any = {"api_key": "test", "base_url": base_url, "httpx_client": self.transport}
        super().__init__(**given)
        self.v1 = cohere.Client(**given)

    def close(self) -> None:
        """Closes both."""
        self.transport.close()


class AsyncClient(cohere.AsyncClientV2):
    """The same, async."""

    def __init__(self, base_url: str) -> None:
        self.transport = httpx.AsyncClient()
        given: Any = {"api_key": "test", "base_url": base_url, "httpx_client": self.transport}
        super().__init__(**given)
        self.v1 = cohere.AsyncClient(**given)

    async def aclose(self) -> None:
        """Closes both."""
        await self.transport.aclose()


def connect(server: WireServer, is_async: bool) -> Any:
    """A client of the kind that is asked for."""
    return (AsyncClient if is_async else Client)(server.base_url)


def answers(request: WireRequest) -> WireAnswer:
    """What api.cohere.com says."""
    body, number = request.body, request.number
    model = body["model"]
    if model == "error-429":
        return as_json({"message": "You are using a Trial key"}, 429)
    if model == "html":
        return WireAnswer(b"<html>hello</html>", headers={"content-type": "text/html"})
    if model == "not-json":
        return WireAnswer(b'{"id": "c')
    version, _, name = request.path.lstrip("/").partition("/")
    meta: Any = None if model == "null-usage" else BILLED
    if name == "embed":
        return as_json(embeddings(body, version, f"emb-{number}", meta))
    if name == "rerank":
        searched = {**BILLED, "billed_units": {"search_units": 1}}
        results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
        return as_json({"id": f"rank-{number}", "results": results, "meta": searched})
    if name == "generate":
        return generated(body, model, f"gen-{number}", meta)
    return (v2_chat if version == "v2" else v1_chat)(body, model, f"chat-{number}")


def embeddings(body: dict[str, Any], version: str, embed_id: str, meta: Any) -> dict[str, Any]:
    """Vectors of two numbers."""
    vectors = [[0.1, 0.2] for _ in body["texts"]]
    is_by_type = version == "v2" or "embedding_types" in body
    return {
        "id": embed_id,
        "texts": body["texts"],
        "embeddings": {"float": vectors} if is_by_type else vectors,
        "response_type": "embeddings_by_type" if is_by_type else "embeddings_floats",
        "meta": meta and {**meta, "billed_units": {"input_tokens": 5.0}},
    }


def generated(body: dict[str, Any], model: str, generation_id: str, meta: Any) -> WireAnswer:
    """A text completion."""
    words = [None if model == "content-null" else word for word in WORDS]
    whole = {"id": f"{generation_id}-0", "text": words[0] and ANSWER, "finish_reason": "COMPLETE"}
    generations = [] if model == "no-choices" else [whole]
    response = {"id": generation_id, "prompt": body["prompt"], "generations": generations}
    if not body.get("stream"):
        return as_json({**response, "meta": meta})
    events: list[Any] = [{"event_type": "text-generation", "text": word, "is_finished": False} for word in words]
    end = {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": response}
    return lines([*events, end], model)


def v1_chat(body: dict[str, Any], model: str, chat_id: str) -> WireAnswer:
    """A chat of v1."""
    words = [None if model == "content-null" else word for word in WORDS]
    response = {
        "response_id": chat_id,
        "generation_id": f"{chat_id}-0",
        "text": words[0] and ANSWER,
        "finish_reason": "COMPLETE",
        "meta": None if model == "null-usage" else V1_META,
    }
    if not body.get("stream"):
        return as_json({} if model == "no-choices" else response)
    return lines(
        [
            {"event_type": "stream-start", "generation_id": f"{chat_id}-0", "is_finished": False},
            *({"event_type": "text-generation", "text": word, "is_finished": False} for word in words),
            {
                "event_type": "stream-end",
                "is_finished": True,
                "finish_reason": "COMPLETE",
                "response": None if model == "no-choices" else response,
            },
        ],
        model,
    )


def lines(events: list[Any], model: str) -> WireAnswer:
    """A stream of v1."""
    if model == "empty-stream":
        events = []
    answer = as_lines(events[:2] if model == "cut-stream" else events, "application/stream+json")
    return WireAnswer(answer.body, answer.status, answer.headers, is_cut=model == "cut-stream")


def v2_chat(body: dict[str, Any], model: str, chat_id: str) -> WireAnswer:
    """A chat of v2."""
    usage = None if model == "null-usage" else V2_USAGE
    if not body.get("stream"):
        content = None if model == "content-null" else [{"type": "text", "text": ANSWER}]
        message = None if model == "no-choices" else {"role": "assistant", "content": content}
        return as_json({"id": chat_id, "finish_reason": "COMPLETE", "message": message, "usage": usage})

    def delta(index: int, kind: str, message: Any) -> dict[str, Any]:
        return {"type": kind, "index": index, "delta": None if model == "no-choices" else {"message": message}}

    words = [None if model == "content-null" else {"text": word} for word in WORDS]
    events = [
        {"id": chat_id, "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}},
        delta(0, "content-start", {"content": {"type": "text", "text": ""}}),
        *(delta(0, "content-delta", {"content": word}) for word in words),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    if model == "empty-stream":
        events = []
    return as_sse(events[:3] if model == "cut-stream" else events, done=True, is_cut=model == "cut-stream")


def chat(client: Any, model: str) -> Any:
    """A chat of v2."""
    return client.chat(
        model=model, messages=MESSAGES, temperature=0.5, max_tokens=50, p=0.9, k=20, request_options=ONCE
    )


def chat_stream(client: Any, model: str) -> Any:
    """A streamed chat of v2."""
    return client.chat_stream(
        model=model, messages=MESSAGES, temperature=0.5, max_tokens=50, p=0.9, k=20, request_options=ONCE
    )


V1 = {"message": "When should I visit Kyoto?", "preamble": "Be brief.", "temperature": 0.5, "request_options": ONCE}
COMPLETION = {"prompt": "When should I visit Kyoto?", "max_tokens": 50, "request_options": ONCE}


def embed(client: Any, model: str) -> Any:
    """Embeddings of v2."""
    return client.embed(
        model=model,
        texts=["Kyoto"],
        input_type="search_document",
        embedding_types=["float"],
        request_options=ONCE,
    )


def v1_embed(client: Any, model: str) -> Any:
    """Embeddings of v1."""
    return client.embed(model=model, texts=["Kyoto"], input_type="search_document", request_options=ONCE)


def rerank(client: Any, model: str) -> Any:
    """A ranking."""
    return client.rerank(model=model, query="Kyoto", documents=["Osaka", "Kyoto"], request_options=ONCE)


def named(operation: str) -> dict[str, Any]:
    """What each span of an operation has."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "cohere",
        "gen_ai.request.model": "model-1",
    }


V2_CHAT = {
    **named("chat"),
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
    "gen_ai.request.top_p": 0.9,
    "gen_ai.request.top_k": 20,
    "gen_ai.response.id": "chat-1",
    "gen_ai.response.finish_reasons": ("COMPLETE",),
    "gen_ai.usage.input_tokens": 72,
    "gen_ai.usage.output_tokens": 6,
    "gen_ai.usage.cache_read.input_tokens": 64,
}
V1_CHAT = {
    **named("chat"),
    "gen_ai.request.temperature": 0.5,
    "gen_ai.response.id": "chat-1",
    "gen_ai.response.finish_reasons": ("COMPLETE",),
    "gen_ai.usage.input_tokens": 72,
    "gen_ai.usage.output_tokens": 6,
}
STREAMED_COMPLETION = {
    **named("text_completion"),
    "gen_ai.request.max_tokens": 50,
    "gen_ai.response.id": "gen-1",
    "gen_ai.response.finish_reasons": ("COMPLETE",),
}
EMBED = {**named("embeddings"), "gen_ai.response.id": "emb-1", "gen_ai.usage.input_tokens": 5}
ASKED = {"role": "user", "parts": [{"type": "text", "content": "When should I visit Kyoto?"}]}
SAID = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}]}
CONTENT = {"gen_ai.input.messages": [ASKED], "gen_ai.output.messages": [{**SAID, "finish_reason": "COMPLETE"}]}
V1_CONTENT = {**CONTENT, "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}]}
UNARY = ("no-choices", "null-usage", "content-null", "html", "not-json")
STREAMED = ("no-choices", "null-usage", "content-null", "empty-stream", "cut-stream")


def raw(call: Any) -> Any:
    """The same call through the raw client."""
    return lambda client, model: call(client.with_raw_response, model)


def data_of(response: Any) -> Any:
    """What a raw response holds."""
    return response.data


class Entered:
    """The events of a raw stream, while its context manager is entered."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __enter__(self) -> Any:
        return self._manager.__enter__().data

    def __exit__(self, *error: object) -> Any:
        return self._manager.__exit__(*error)


class AsyncEntered:
    """The same, async."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        return (await self._manager.__aenter__()).data

    async def __aexit__(self, *error: object) -> Any:
        return await self._manager.__aexit__(*error)


def styles(is_async: bool) -> list[Style]:
    """Every way of calling one kind of client."""
    suffix = " async" if is_async else ""
    entered = AsyncEntered if is_async else Entered

    def style(name: str, call: Any, **more: Any) -> Style:
        given: dict[str, Any] = {
            "span_name": "chat model-1",
            "attributes": V2_CHAT,
            "content": CONTENT,
            "odd": STREAMED if more.get("is_stream") else UNARY,
            "error_type": "TooManyRequestsError",
            "from_version": (5, 16) if "raw" in name else (0,),
            **more,
        }
        return Style(name + suffix, call, is_async=is_async, **given)

    def v1(name: str) -> Any:
        given = COMPLETION if name.startswith("generate") else V1
        return lambda client, model: getattr(client.v1, name)(model=model, **given)

    def v1_raw(name: str) -> Any:
        given = COMPLETION if name.startswith("generate") else V1
        return lambda client, model: getattr(client.v1.with_raw_response, name)(model=model, **given)

    v1_said: dict[str, Any] = {"attributes": V1_CHAT, "content": V1_CONTENT}
    completed: dict[str, Any] = {"span_name": "text_completion model-1", "content": CONTENT}
    unary_completion = {
        **STREAMED_COMPLETION,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 4,
    }
    embedded: dict[str, Any] = {
        "span_name": "embeddings model-1",
        "content": {},
        "odd": ("null-usage", "html", "not-json"),
    }
    by_type = {**EMBED, "gen_ai.request.encoding_formats": ("float",)}
    ranked: dict[str, Any] = {
        "span_name": "rerank model-1",
        "attributes": {**named("rerank"), "gen_ai.response.id": "rank-1"},
        "content": {},
        "odd": ("html", "not-json"),
    }
    return [
        style("v2 chat", chat),
        style("v2 chat raw", raw(chat), reads=data_of),
        style("v2 chat raw whole", raw(chat), odd=("html", "not-json")),
        style("v2 chat_stream", chat_stream, is_stream=True),
        style(
            "v2 chat_stream raw",
            lambda client, model: entered(chat_stream(client.with_raw_response, model)),
            is_stream=True,
        ),
        style("v2 embed", embed, attributes=by_type, **embedded),
        style("v2 embed raw", raw(embed), reads=data_of, attributes=by_type, **embedded),
        style("v2 rerank", rerank, **ranked),
        style("v1 chat", v1("chat"), **v1_said),
        style("v1 chat raw", v1_raw("chat"), reads=data_of, **v1_said),
        style("v1 chat_stream", v1("chat_stream"), is_stream=True, **v1_said),
        style(
            "v1 chat_stream raw",
            lambda client, model: entered(v1_raw("chat_stream")(client, model)),
            is_stream=True,
            **v1_said,
        ),
        style("v1 generate", v1("generate"), attributes=unary_completion, **completed),
        style("v1 generate_stream", v1("generate_stream"), is_stream=True, attributes=STREAMED_COMPLETION, **completed),
        style("v1 embed", lambda client, model: v1_embed(client.v1, model), attributes=EMBED, **embedded),
        style(
            "v1 embed raw",
            lambda client, model: v1_embed(client.v1.with_raw_response, model),
            reads=data_of,
            attributes=EMBED,
            **embedded,
        ),
        style("v1 rerank", lambda client, model: rerank(client.v1, model), **ranked),
    ]


CASE = ClientCase(
    client="cohere",
    distribution="cohere",
    module="cohere",
    connect=connect,
    answers=answers,
    styles=[*styles(is_async=False), *styles(is_async=True)],
)
