"""Reads Grafana Tempo by its query API: TraceQL search, and traces by id. Needs Tempo 2.7 or later."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from spanback import semconv
from spanback.errors import SourceError
from spanback.reading._otlp import Record
from spanback.reading._traces import TraceStore

VALUE_LIMIT_BYTES: Final = 2_048
"""Tempo cuts longer attribute values unless `max_attribute_bytes` says otherwise."""

_TRACE: Final = "/api/v2/traces/"


class Tempo(TraceStore):
    """The calls and the feedback in Tempo. Texts longer than 2,048 bytes have been cut by it."""

    def trace(self, trace_id: str) -> Record | None:
        """A trace as OTLP-JSON; None where there is none."""
        answer = self._server.get(_TRACE + trace_id)
        return answer.get("trace") if isinstance(answer, dict) else None

    def trace_address(self, trace_id: str) -> str:
        """Where the API has a trace."""
        return self._server.url + _TRACE + trace_id

    def search(self, query: str, since_ns: int, until_ns: int, limit: int) -> dict[str, Record | None]:
        """The ids of the traces in which a span matches a TraceQL query."""
        # Whole seconds, the last one in full: what comes twice is taken once.
        times = {"start": since_ns // 1_000_000_000, "end": -(-until_ns // 1_000_000_000)}
        answer = self._server.get("/api/search", {"q": query, "limit": limit, "spss": 1, **times})
        try:
            # Tempo leaves out leading zeros.
            return {str(trace["traceID"]).zfill(32): None for trace in answer.get("traces") or ()}
        except (AttributeError, KeyError, TypeError):
            raise SourceError(f"{self._server.url}/api/search", "does not answer as Tempo does") from None

    def feedback_query(self, feedback_id: str) -> Iterable[str]:
        """The query that finds a signal."""
        return [f"{{ span.{semconv.FEEDBACK_ID} = {json.dumps(feedback_id)} }}"]

    def _feedback_queries(self) -> Iterable[str]:
        return [f"{{ span.{semconv.FEEDBACK_ID} != nil }}"]

    def _call_queries(self) -> Iterable[str]:
        return [f"{{ span.{semconv.GEN_AI_OPERATION_NAME} != nil }}"]

    def _response_queries(self, response_id: str) -> Iterable[str]:
        return [f"{{ span.{semconv.GEN_AI_RESPONSE_ID} = {json.dumps(response_id)} }}"]
