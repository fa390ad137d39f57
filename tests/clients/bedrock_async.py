"""Amazon Bedrock through aiobotocore, which pins a release of botocore: it is tested in an environment of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import aiobotocore.session
from aiobotocore.config import AioConfig

from tests.clients import bedrock
from tests.clients.cases import ClientCase, Style
from tests.clients.wire import WireServer


class Client:
    """An async client, which is opened by its first call: that must be awaited, and the test connects without."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._opened: Any = None

    async def call(self, name: str, **arguments: Any) -> Any:
        """Makes a call."""
        if self._opened is None:
            self._opened = await self._context.__aenter__()
        return await getattr(self._opened, name)(**arguments)

    async def aclose(self) -> None:
        """Closes the client."""
        if self._opened is not None:
            await self._context.__aexit__(None, None, None)


def connect(server: WireServer, is_async: bool) -> Client:
    """A client."""
    assert is_async
    session = aiobotocore.session.get_session()
    config = AioConfig(retries={"total_max_attempts": 1}, read_timeout=5)
    return Client(
        session.create_client("bedrock-runtime", endpoint_url=server.base_url, config=config, **bedrock.CREDENTIALS)
    )


def caller(name: str, arguments: dict[str, Any], *, is_stream: bool) -> Callable[[Client, str], Any]:
    """A call of an operation."""

    async def call(client: Client, model: str) -> Any:
        result = await client.call(name, modelId=model, **arguments)
        return bedrock.AsyncHeld(result) if is_stream else result

    return call


async def read_whole(result: Any) -> dict[str, Any]:
    """Reads the body at once."""
    return bedrock.without_headers({**result, "body": await result["body"].read()})


def of(style: Style) -> Style:
    """The style of the sync client that is made async."""
    name, _, family = style.name.partition(" ")
    arguments = {"body": json.dumps(bedrock.FAMILIES[family].request)} if family else bedrock.CONVERSATION
    return dataclasses.replace(
        style,
        name=f"{style.name} async",
        call=caller(name, arguments, is_stream=style.is_stream),
        is_async=True,
        reads=style.reads and read_whole,
    )


CASE = ClientCase(
    client="bedrock",
    distribution="aiobotocore",
    module="aiobotocore.client",
    connect=connect,
    answers=bedrock.answers,
    styles=[of(style) for style in bedrock.CASE.styles],
)
