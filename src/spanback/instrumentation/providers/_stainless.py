"""The adapter of clients made by the Stainless generator: openai and its siblings.

They share one method through which every call goes, `request(cast_to, options, *, stream, stream_cls)`, whatever the
resource, the helper or the subclass, and also for bound methods and raw clients made before the wrapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutine
from typing import Any
from urllib.parse import urlsplit

from spanback.instrumentation._adapter import Body, Endpoint, Received, Request, Target, text
from spanback.instrumentation.providers._places import DEFAULT_PORTS, MOST_ADDRESSES

_EMPTY: Body = {}


@dataclass(frozen=True, slots=True)
class StainlessAdapter:
    """One client of the family.

    Attributes:
        client: Name in the lazy table, which is also the name of the client's package.
        endpoints: Endpoints by HTTP method in lower case and path, as in "post /chat/completions".
        provider_of: The provider's name for a host name.
        find_by_prefix: Finds endpoints whose path holds an id, by method and path.
        traces_itself: Tells whether a client object makes spans of its own.
        connections: What to wrap of connections on which responses are made.
        provider_of_client: The provider's name where the kind of client tells it, whatever the host; else None.
    """

    client: str
    endpoints: Mapping[str, Endpoint]
    provider_of: Callable[[str], str]
    find_by_prefix: Callable[[str, str], Endpoint | None] = lambda _method, _path: None
    traces_itself: Callable[[Any], bool] | None = None
    connections: Sequence[Target] = ()
    provider_of_client: Callable[[Any], str | None] = lambda _client: None
    _addresses: dict[int, tuple[Any, str, str | None, int | None]] = field(default_factory=dict, repr=False)

    @property
    def targets(self) -> Sequence[Target]:
        """The two methods that every call goes through, and those of connections."""
        module = f"{self.client}._base_client"
        return (
            Target(module, "SyncAPIClient.request", is_async=False, shadowed_by="_process_response"),
            Target(module, "AsyncAPIClient.request", is_async=True, shadowed_by="_process_response"),
            *self.connections,
        )

    def find_endpoint(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Endpoint | None:
        """Looks the call's method and path up; the query does not count, and a whole URL counts by its path's end."""
        options = args[1] if len(args) > 1 else kwargs["options"]
        method, url = options.method.lower(), options.url
        found = self.endpoints.get(f"{method} {url}")
        if found is not None:
            return found
        path = url.partition("?")[0]
        if "://" in path:
            path = next((known for known in self._paths(method) if path.endswith(known)), "")
        elif not path.startswith("/"):
            path = f"/{path}"
        return self.endpoints.get(f"{method} {path}") or self.find_by_prefix(method, path)

    def read(self, endpoint: Endpoint, instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """The call's body, as the client has already transformed it: no sentinels, no iterators."""
        options = args[1] if len(args) > 1 else kwargs["options"]
        body, url = options.json_data, options.url
        if type(body) is not dict:
            body = _EMPTY if endpoint.is_inference else {"url": url}
        if options.extra_json and body is not _EMPTY:
            body = {**body, **options.extra_json}  # as the client merges them when it sends
        base = instance._base_url  # noqa: SLF001 - the public property builds anew what is only compared here
        known = self._addresses.get(id(base))
        if known is None or known[0] is not base or "://" in url:
            known = self._address(base, url, self.provider_of_client(instance))
        model = body.get("model")
        if type(model) is not str or not model or not model.isascii():
            model = text(model)
        return Request(endpoint, known[1], model, body, bool(kwargs.get("stream")), known[2], known[3])

    def sort(self, request: Request, result: Any) -> Received | None:
        """Tells whole responses, streams and raw responses apart, parsing only what has already arrived."""
        own = getattr(result, "__dict__", _EMPTY)
        if "_parsed_by_type" in own:
            return self._sort_raw(request, result)
        # Some clients make it only when the stream is first read, by a descriptor of the class.
        if "_iterator" in own or (request.is_stream and hasattr(type(result), "_iterator")):
            return Received(stream=result, slot="_iterator", body=own.get("response"))
        return None

    def _sort_raw(self, request: Request, raw: Any) -> Received:
        if not request.is_stream:
            mode = raw.http_request.headers.get("X-Stainless-Raw-Response")
            if mode in {"true", "raw"}:
                return Received(response=_parsed(raw))
            parsed = raw._parsed_by_type  # noqa: SLF001 - it has no public name that does not read the network
            return Received(pending=parsed, body=raw.http_response, holder=raw)
        # What the app's own parse() will return: the SDK keeps it, so that parsing early makes no second stream.
        stream = raw._parse()  # noqa: SLF001 - the async parse() cannot be called from here, and this one reads nothing
        raw._parsed_by_type[raw._cast_to] = stream  # noqa: SLF001 - as above
        return Received(stream=stream, slot="_iterator", body=raw.http_response)

    def _paths(self, method: str) -> list[str]:
        return [path for known, _, path in (key.partition(" ") for key in self.endpoints) if known == method]

    def _address(self, base: Any, url: str, provider: str | None) -> tuple[Any, str, str | None, int | None]:
        """Provider, host and port of a call, remembered by the identity of the client's base URL.

        A whole URL takes the place of the base URL, and is not remembered.
        """
        if "://" in url:
            whole = urlsplit(url)
            return (None, *self._place(whole.hostname, whole.port, whole.scheme, provider))
        if len(self._addresses) >= MOST_ADDRESSES:
            self._addresses.clear()
        found = self._addresses[id(base)] = (
            base,
            *self._place(text(base.host), base.port, base.scheme, provider),
        )
        return found

    def _place(
        self, host: str | None, port: int | None, scheme: str, provider: str | None
    ) -> tuple[str, str | None, int | None]:
        port = (port or DEFAULT_PORTS.get(scheme)) if host else None
        return provider or self.provider_of(host or ""), host, port


def _parsed(raw: Any) -> Any:
    """The response in a raw one whose body has arrived: the one that the app's own parse() will return.

    The parse() of an async one is a coroutine that has nothing to wait for. None where there is no such response; what
    is no JSON the app's own parse() will complain of.
    """
    try:
        parsed = raw.parse()
        if not iscoroutine(parsed):
            return parsed
        parsed.send(None)
    except StopIteration as done:
        return done.value
    except ValueError:
        return None
    parsed.close()
    return None
