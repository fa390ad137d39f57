"""Reads Jaeger 2 by its query APIs: version 3 for services, operations and whole traces, the older one for tags."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._otlp import Record, spans
from spanback.reading._rows import iso
from spanback.reading._traces import TraceStore

_API: Final = "/api/v3/"
_CARRIER: Final = "feedback "
"""What the name of every carrier span begins with."""


class Jaeger(TraceStore):
    """The calls and the feedback in Jaeger, of every service that it knows."""

    limit = 200  # whole traces come with the search

    def trace(self, trace_id: str) -> Record | None:
        """A trace as OTLP-JSON; None where there is none."""
        answer = self._server.get(f"{_API}traces/{trace_id}")
        return answer.get("result") if isinstance(answer, dict) else None

    def trace_address(self, trace_id: str) -> str:
        """Where the API has a trace."""
        return f"{self._server.url}{_API}traces/{trace_id}"

    def search(self, query: str, since_ns: int, until_ns: int, limit: int) -> dict[str, Record | None]:
        """The traces in which a span matches: the query is JSON of `service`, and `operation` or `tags`."""
        asked: dict[str, Any] = json.loads(query)
        if "tags" in asked:
            # Version 3 takes no notice of attributes; the older API does, in microseconds.
            params = {"start": since_ns // 1_000, "end": until_ns // 1_000, "limit": limit}
            found = self._list("/api/traces", "data", {**asked, "tags": json.dumps(asked["tags"]), **params})
            return {str(trace["traceID"]): None for trace in found}
        params = {
            "query.service_name": asked["service"],
            "query.start_time_min": iso(since_ns),
            "query.start_time_max": iso(until_ns),
            # Releases differ in which of the two names they know.
            "query.num_traces": limit,
            "query.search_depth": limit,
        }
        if "operation" in asked:
            params["query.operation_name"] = asked["operation"]
        answer = self._server.get(f"{_API}traces", params)
        return {} if answer is None else _by_trace(answer["result"])

    def feedback_query(self, feedback_id: str) -> Iterable[str]:
        """The queries that find a signal: one for each service, since Jaeger searches in one."""
        return self._tagged(semconv.FEEDBACK_ID, feedback_id)

    def _feedback_queries(self) -> Iterator[str]:
        for service in self._services():
            for operation in self._list(f"{_API}operations", "operations", {"service": service}):
                if str(operation["name"]).startswith(_CARRIER):
                    yield json.dumps({"service": service, "operation": operation["name"]})

    def _call_queries(self) -> Iterator[str]:
        return (json.dumps({"service": service}) for service in self._services())

    def _response_queries(self, response_id: str) -> Iterable[str]:
        return self._tagged(semconv.GEN_AI_RESPONSE_ID, response_id)

    def _tagged(self, key: str, value: str) -> Iterator[str]:
        return (json.dumps({"service": service, "tags": {key: value}}) for service in self._services())

    def _services(self) -> list[str]:
        return sorted(map(str, self._list(f"{_API}services", "services")))

    def _list(self, path: str, key: str, params: dict[str, object] | None = None) -> list[Any]:
        answer = self._server.get(path, params)
        try:
            return answer[key] or []
        except (TypeError, KeyError):
            raise SourceError(self._server.url + path, "does not answer as Jaeger 2 does") from None


def _by_trace(batch: Record) -> dict[str, Record | None]:
    """Parts a batch of several traces by trace id, in which a resource may stand for spans of all of them."""
    found: dict[str, Record | None] = {}
    for resource in batch.get("resourceSpans") or ():
        by_id: dict[str, list[Record]] = {}
        for _, span in spans({"resourceSpans": [resource]}):
            by_id.setdefault(str(span["traceId"]), []).append(span)
        for trace_id, of_trace in by_id.items():
            part = {"resource": resource.get("resource"), "scopeSpans": [{"spans": of_trace}]}
            trace: Any = found.setdefault(trace_id, {"resourceSpans": []})
            trace["resourceSpans"].append(part)
    return found
