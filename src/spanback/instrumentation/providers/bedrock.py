"""Amazon Bedrock's runtime through botocore or aiobotocore: Converse, and InvokeModel for every family of models.

Every call of every AWS service goes through one method, so what is asked first is only the operation's name. Responses
are dicts, which bear no handle: feedback finds them by the id of the request. The body of InvokeModel can be read once
and the events of a stream too, so they are looked at while the app reads them, in the objects that it has anyway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from itertools import tee
from operator import itemgetter
from typing import Any, Final

from spanback.instrumentation._adapter import Endpoint, Received, Request, Target, class_of, member, text
from spanback.instrumentation.providers import _bedrock_converse as converse
from spanback.instrumentation.providers import _bedrock_families as families
from spanback.instrumentation.providers._bedrock_body import Reading
from spanback.instrumentation.providers._places import place

_STREAMED: Final = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})
_EVENTS: Final = "_event_generator"


def name_error(error: BaseException) -> str:
    """The code that the service gave; the class of an error that is the client's own."""
    code = member(member(getattr(error, "response", None), "Error"), "Code")
    return text(code) or class_of(error)


CONVERSE: Final = Endpoint(
    "chat",
    converse.read_request,
    converse.read_response,
    converse.Events,
    converse.read_input,
    converse.read_output,
    name_error=name_error,
    identify=lambda _thing: (None, None),
)
INVOKE: Final = {
    operation: Endpoint(
        operation,
        families.read_request,
        families.read_tokens if operation in families.WITHOUT_ANSWER else families.read_response,
        families.Events,
        families.read_input,
        families.read_output,
        is_inference=operation not in families.WITHOUT_ANSWER,
        name_error=name_error,
        identify=families.identify,
    )
    for operation in families.OPERATIONS
}
_ENDPOINTS: Final = {
    "Converse": CONVERSE,
    "ConverseStream": CONVERSE,
    "InvokeModel": INVOKE["chat"],
    "InvokeModelWithResponseStream": INVOKE["chat"],
}


class BedrockAdapter:
    """Clients of botocore and of aiobotocore, whose every call goes through one method."""

    client: Final = "bedrock"
    traces_itself: Final = None
    targets: Final = (
        # Either may be half imported when botocore.client is, which both import.
        Target(("aiobotocore.client", "aiobotocore.session"), "AioBaseClient._make_api_call", is_async=True),
        Target("botocore.client", "BaseClient._make_api_call", is_async=False),
    )

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """Looks the operation up: no other service of AWS has one of these names."""
        return _ENDPOINTS.get(args[0] if args else kwargs["operation_name"])

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """What the call asks for. A body says itself which operation it is for, whatever the model is called."""
        name = args[0] if args else kwargs["operation_name"]
        params = args[1] if len(args) > 1 else kwargs["api_params"]
        body = params
        if endpoint is not CONVERSE:
            body = families.request_body(params)
            endpoint = INVOKE[families.operation_of(body)]
        host, port = place(instance.meta.endpoint_url)
        return Request(endpoint, "aws.bedrock", text(params.get("modelId")), body, name in _STREAMED, host, port)

    def sort(self, request: Request, result: Any) -> Received | None:
        """A whole response, a stream of events, or a body that the app will read."""
        known_as = text(member(member(result, "ResponseMetadata"), "RequestId"))
        is_converse = request.endpoint is CONVERSE
        held = member(result, "stream" if is_converse else "body")
        own = getattr(held, "__dict__", {})
        if request.is_stream and _EVENTS in own:
            _watchable(held)
            return Received(stream=held, slot=_EVENTS, body=held, known_as=known_as)
        if is_converse:
            return Received(response=result, known_as=known_as)
        told = families.Answer({}, families.counts_in_headers(result))
        if request.is_stream or not hasattr(held, "read"):
            return Received(response=told, known_as=known_as)
        reading = Reading(held, lambda content: families.Answer(families.parsed(content), told.counts))
        reading.pending["body"] = told
        return Received(pending=reading.pending, holder=held, subscribe=reading.begin, known_as=known_as)


def _watchable(stream: Any) -> None:
    """Lets a stream of events parse each message as it arrives, and not a step later.

    What is wrong with a message is then raised inside of what the engine watches, which gets pairs of a message and
    what was parsed of it. Sync ones are made without entering a function of ours.
    """
    parse, messages = stream._parse_event, stream._event_generator  # noqa: SLF001 - what its own iteration goes through
    is_async = hasattr(messages, "__anext__")
    if is_async:
        pairs: Any = _async_pairs(messages, parse)
    else:
        kept, read = tee(messages)
        pairs = zip(kept, map(parse, read), strict=False)
    stream._event_generator = pairs  # noqa: SLF001 - as above
    stream._parse_event = _async_known if iscoroutinefunction(parse) else _known  # noqa: SLF001 - as above
    initial = getattr(stream, "get_initial_response", None)
    if initial is not None:
        stream.get_initial_response = partial(_async_initial if is_async else _initial, stream, initial)


def _initial(stream: Any, initial: Callable[[], Any]) -> Any:
    """The first message itself: the client's own method reads messages."""
    pairs = stream._event_generator  # noqa: SLF001 - as above
    stream._event_generator = map(_message, pairs)  # noqa: SLF001 - as above
    try:
        return initial()
    finally:
        stream._event_generator = pairs  # noqa: SLF001 - as above


async def _async_initial(stream: Any, initial: Callable[[], Any]) -> Any:
    pairs = stream._event_generator  # noqa: SLF001 - as above
    stream._event_generator = (_message(pair) async for pair in pairs)  # noqa: SLF001 - as above
    try:
        return await initial()
    finally:
        stream._event_generator = pairs  # noqa: SLF001 - as above


async def _async_pairs(messages: AsyncIterator[Any], parse: Callable[[Any], Any]) -> AsyncIterator[Any]:
    async for message in messages:
        parsed = parse(message)
        yield message, await parsed if isawaitable(parsed) else parsed


_message: Final = itemgetter(0)
_known: Final = itemgetter(1)


async def _async_known(pair: Any) -> Any:
    return pair[1]


ADAPTER: Final = BedrockAdapter()
