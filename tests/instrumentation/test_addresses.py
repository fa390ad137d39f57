"""Where a call goes: provider, address and port, and every spelling of a path."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from spanback.demo._loopback import LoopbackServer
from spanback.instrumentation.providers._places import MOST_ADDRESSES, place
from spanback.instrumentation.providers.openai import provider_of
from tests.conftest import Memory
from tests.instrumentation import driving
from tests.instrumentation.driving import MESSAGES, MODEL


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("acme.openai.azure.com", "azure.ai.openai"),
        ("acme.cognitiveservices.azure.com", "azure.ai.openai"),
        ("acme.services.ai.azure.com", "azure.ai.inference"),
        ("acme.models.ai.azure.com", "azure.ai.inference"),
        ("api.groq.com", "groq"),
        ("api.deepseek.com", "deepseek"),
        ("api.mistral.ai", "mistral_ai"),
        ("api.x.ai", "x_ai"),
        ("api.perplexity.ai", "perplexity"),
        ("api.anthropic.com", "anthropic"),
        ("api.cohere.ai", "cohere"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("api.together.xyz", "together_ai"),
        ("openrouter.ai", "openrouter"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.us-west-2.amazonaws.com", "aws.bedrock"),
        ("127.0.0.1", "openai"),
        ("", "openai"),
        ("notapi.openai.com.evil.example", "openai"),
    ],
)
def test_the_provider_follows_the_address(host: str, provider: str) -> None:
    """The provider is the one behind the client's address."""
    assert provider_of(host) == provider


def test_other_providers_are_named(instrument: Any, connect: Any, memory: Memory) -> None:
    """A client with another base URL names that provider, and its address and port."""
    instrument()
    http = openai.DefaultHttpxClient(
        transport=driving.httpx.MockTransport(lambda _request: driving.httpx.Response(401))
    )
    client = connect(base_url="https://api.groq.com/openai/v1", http_client=http)
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="llama", messages=MESSAGES)
    attributes = memory.span.attributes or {}
    names = ("gen_ai.provider.name", "server.address", "server.port")
    assert [attributes[name] for name in names] == ["groq", "api.groq.com", 443]


@driving.is_async
async def test_azure(is_async: bool, instrument: Any, connect: Any, memory: Memory, server: LoopbackServer) -> None:
    """Azure's client puts the deployment into the path only later; its calls are model calls all the same."""
    instrument()
    make = openai.AsyncAzureOpenAI if is_async else openai.AzureOpenAI
    client = connect(
        is_async=is_async, make=make, base_url=None, azure_endpoint=server.root_url, api_version="2024-10-21"
    )
    await driving.settled(client.chat.completions.create(model="my-deployment", messages=MESSAGES))
    assert server.requests[-1].path == "/openai/deployments/my-deployment/chat/completions"
    assert memory.span.name == "chat my-deployment"
    assert (memory.span.attributes or {})["gen_ai.response.id"] == "chatcmpl-000001"


@pytest.mark.odd_telemetry("server.address without server.port")  # where the scheme has no port that is known
@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("unix:/tmp/model.sock", {}),
        ("ftp://models.example/v1", {"server.address": "models.example"}),
        ("http://models.example/v1", {"server.address": "models.example", "server.port": 80}),
    ],
)
def test_addresses(url: str, place: dict[str, Any], instrument: Any, connect: Any, memory: Memory) -> None:
    """Address and port are told where there are any."""
    instrument()
    transport = driving.httpx.MockTransport(lambda _request: driving.httpx.Response(401))
    client = connect(base_url=url, http_client=openai.DefaultHttpxClient(transport=transport))
    with pytest.raises(openai.OpenAIError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    attributes = memory.span.attributes or {}
    assert {name: value for name, value in attributes.items() if name.startswith("server.")} == place


def test_many_clients_take_no_memory_for_ever(instrument: Any, connect: Any) -> None:
    """Addresses are remembered by client, and only so many."""
    from spanback.instrumentation.providers.openai import ADAPTER

    instrument()
    client = connect()
    for _ in range(300):
        client.with_options(timeout=5).models.list()
        client.with_options(timeout=5).completions.create(model=MODEL, prompt="x")
    assert len(ADAPTER._addresses) <= 256


def test_calls_that_are_no_model_calls_have_no_span(instrument: Any, client: Any, memory: Memory) -> None:
    """Lists of models, and endpoints that nobody knows, are not traced."""
    instrument()
    client.models.list()
    with pytest.raises(openai.NotFoundError):
        client.post("/moderations", body={"input": "x"}, cast_to=object)
    assert memory.spans == []


@pytest.mark.parametrize(
    "path", ["/chat/completions", "chat/completions", "/chat/completions?a=b", "{base}/chat/completions"]
)
def test_every_spelling_of_a_path(path: str, instrument: Any, client: Any, memory: Memory, server: Any) -> None:
    """A path may lack its slash, have a query, or be a whole URL."""
    instrument()
    body = {"model": MODEL, "messages": MESSAGES}
    client.post(path.format(base=server.base_url), body=body, cast_to=openai.types.chat.ChatCompletion)
    assert memory.span.name == f"chat {MODEL}"


def test_a_whole_url_names_its_own_server(
    instrument: Any, client: Any, connect: Any, memory: Memory, server: Any
) -> None:
    """A call to a whole URL goes there and not to the client's base URL, and the span says so."""
    instrument()
    elsewhere = connect(base_url="https://api.groq.com/v1")
    url = f"{server.base_url}/chat/completions"
    elsewhere.post(url, body={"model": MODEL, "messages": MESSAGES}, cast_to=openai.types.chat.ChatCompletion)
    attributes = memory.span.attributes or {}
    names = ("gen_ai.provider.name", "server.address", "server.port")
    assert [attributes[name] for name in names] == ["openai", "127.0.0.1", server._server.server_port]


def test_retries_are_one_call(instrument: Any, connect: Any, memory: Memory) -> None:
    """A call that the client tries twice has one span."""
    instrument()
    answers = [
        driving.httpx.Response(503, headers={"x-should-retry": "true", "retry-after-ms": "1"}),
        driving.httpx.Response(200, json={"id": "chatcmpl-1", "choices": [], "created": 1, "model": MODEL}),
    ]
    transport = driving.httpx.MockTransport(lambda _request: answers.pop(0))
    client = connect(max_retries=2, http_client=openai.DefaultHttpxClient(transport=transport))
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES).id == "chatcmpl-1"
    assert answers == []
    assert (memory.span.attributes or {})["gen_ai.response.id"] == "chatcmpl-1"
    assert "error.type" not in (memory.span.attributes or {})


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.cohere.com", ("api.cohere.com", 443)),
        ("http://127.0.0.1:8080/v", ("127.0.0.1", 8080)),
        ("", (None, None)),
    ],
)
def test_places(url: str, found: tuple[str | None, int | None]) -> None:
    """Host and port are those of the base URL."""
    assert place(url) == found


def test_places_are_bounded() -> None:
    """However many base URLs there are, few are remembered."""
    for port in range(1, MOST_ADDRESSES + 50):
        assert place(f"http://h:{port}") == ("h", port)
    assert place.cache_info().currsize == MOST_ADDRESSES
