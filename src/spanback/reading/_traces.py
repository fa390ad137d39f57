"""Reads traces by the query API of a trace store: searches for feedback, then asks for the traces that it is about."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from spanback import semconv
from spanback.reading._http import Server
from spanback.reading._otlp import Record, has, ids_of, spans
from spanback.reading._reader import NO_OTLP, Progress, Reader, call_of
from spanback.reading._rows import Call, Feedback

DEFAULT_AGE_S: Final = 7 * 86_400
"""How far back a trace store is searched unless `since_ns` says otherwise."""

_WINDOW_NS: Final = 6 * 86_400 * 1_000_000_000
"""Tempo searches at most 7 days at once unless it is told otherwise."""

_AT_ONCE: Final = 8
_SECOND_NS: Final = 1_000_000_000


class TraceStore(Reader):
    """The calls and the feedback in a trace store.

    Log events are not in a trace store, so feedback that is emitted as log events only is not seen, and content is
    read from spans only.

    Args:
        server: The store's query API.
        since_ns: Search for what was recorded at this time or later, ns since the epoch; the last 7 days when None.
            Rated calls are found however old they are.
        progress: Called with the number of traces read and of those known to be there.

    Attributes:
        limit: How many traces are asked for at once. Where so many come, the time is searched in smaller parts.
    """

    limit: int = 1_000

    def __init__(self, server: Server, *, since_ns: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(since_ns)
        server.basic_auth()
        self._server = server
        self._progress = progress
        self._done = self._all = 0
        self._until_ns = time.time_ns() + 60 * _SECOND_NS
        self._since_ns = max(0, self._until_ns - DEFAULT_AGE_S * _SECOND_NS if since_ns is None else since_ns)
        self._workers = self._closing.enter_context(ThreadPoolExecutor(_AT_ONCE, "spanback-reading"))

    @property
    def where(self) -> str:
        """The address."""
        return self._server.url

    def calls(self) -> Iterator[Call]:
        """Every model call since `since_ns`, rated or not."""
        for place, batch in self._found(self._call_queries()):
            for service_name, span in self._spans(place, batch):
                call = self._attempt(place, 0, call_of, span, service_name)
                if call is not None:
                    yield call

    def find(self, feedback_id: str) -> Feedback | None:
        """The latest record of a signal, also one that withdraws it; None where there is none. Nothing else is read."""
        for place, batch in self._found(self.feedback_query(feedback_id)):
            for service_name, span in self._spans(place, batch):
                if has(span, semconv.FEEDBACK_ID):
                    self._attempt(place, 0, self._join.put_carrier, span, service_name)
        return self._join.signal(feedback_id)

    @abstractmethod
    def trace(self, trace_id: str) -> Record | None:
        """A trace as OTLP-JSON; None where there is none. Raises SourceError."""

    def span_ids(self, trace_id: str) -> set[tuple[str, str]]:
        """The trace and span ids of the spans that are there of a trace. Raises SourceError."""
        batch = self.trace(trace_id) or {}
        ids = (ids_of(span) for _, span in self._spans(self.trace_address(trace_id), batch))
        return {(trace, span) for trace, span in ids if trace and span}

    @abstractmethod
    def trace_address(self, trace_id: str) -> str:
        """Where the API has a trace."""

    @abstractmethod
    def search(self, query: str, since_ns: int, until_ns: int, limit: int) -> dict[str, Record | None]:
        """The traces in which a span matches, by id, with the whole trace where the answer holds it.

        Raises:
            SourceError: It does not answer, or with an error.
        """

    @abstractmethod
    def feedback_query(self, feedback_id: str) -> Iterable[str]:
        """Queries for `search` that find the carrier of a signal."""

    @abstractmethod
    def _feedback_queries(self) -> Iterable[str]:
        """Queries for `search` that find every carrier."""

    @abstractmethod
    def _call_queries(self) -> Iterable[str]:
        """Queries for `search` that find every call."""

    @abstractmethod
    def _response_queries(self, response_id: str) -> Iterable[str]:
        """Queries for `search` that find the call that gave a response."""

    def _read_feedback(self) -> None:
        for place, batch in self._found(self._feedback_queries()):
            calls: list[tuple[Record, str | None]] = []
            for service_name, span in self._spans(place, batch):
                if has(span, semconv.FEEDBACK_ID):
                    self._attempt(place, 0, self._join.put_carrier, span, service_name)
                elif has(span, semconv.GEN_AI_OPERATION_NAME):
                    calls.append((span, service_name))
            # Calls whose feedback is in the same trace need not be asked for again.
            for span, service_name in calls:
                self._attempt(place, 0, self._put_span, span, service_name, False)

    def _read_calls(self) -> None:
        for response_id in self._join.unclaimed():
            for place, batch in self._found(self._response_queries(response_id)):
                self._put_calls(place, batch, by_response=True)
        for place, batch in self._fetched(self._join.missing_traces()):
            self._put_calls(place, batch, by_response=False)

    def _put_calls(self, place: str, batch: Record, *, by_response: bool) -> None:
        for service_name, span in self._spans(place, batch):
            self._attempt(place, 0, self._put_span, span, service_name, by_response)

    def _found(self, queries: Iterable[str]) -> Iterator[tuple[str, Record]]:
        """The traces in which a span matches one of the queries, each once."""
        seen: set[str] = set()
        for query in queries:
            start_ns = self._since_ns
            while start_ns < self._until_ns:
                end_ns = min(start_ns + _WINDOW_NS, self._until_ns)
                for found in self._windows(query, start_ns, end_ns):
                    new = {trace_id: batch for trace_id, batch in found.items() if trace_id not in seen}
                    seen.update(new)
                    yield from ((self.trace_address(one), batch) for one, batch in new.items() if batch is not None)
                    yield from self._fetched(one for one, batch in new.items() if batch is None)
                start_ns = end_ns

    def _windows(self, query: str, start_ns: int, end_ns: int) -> Iterator[dict[str, Record | None]]:
        """What a search finds; where it finds as many as it may, it is asked for each half of the time instead."""
        limit, halves = self.limit, [(start_ns, end_ns)]
        while halves:
            start_ns, end_ns = halves.pop()
            found = self.search(query, start_ns, end_ns, limit)
            if len(found) < limit:
                yield found
            elif end_ns - start_ns > _SECOND_NS:
                middle_ns = (start_ns + end_ns) // 2
                halves += [(middle_ns, end_ns), (start_ns, middle_ns)]
            else:
                # So much in one second: only a higher limit shows whether that is all.
                limit *= 4
                halves.append((start_ns, end_ns))

    def _fetched(self, trace_ids: Iterable[str]) -> Iterator[tuple[str, Record]]:
        """Traces by id, several asked for at once, in the order of their ids."""
        rest = iter(trace_ids)
        while some := list(islice(rest, 4 * _AT_ONCE)):
            self._all += len(some)
            for trace_id, batch in zip(some, self._workers.map(self.trace, some), strict=True):
                if batch is not None:
                    yield self.trace_address(trace_id), batch
            self._done += len(some)
            if self._progress is not None:
                self._progress(self._done, self._all)

    def _spans(self, place: str, batch: Record) -> Iterator[tuple[str | None, Record]]:
        try:
            yield from spans(batch)
        except NO_OTLP as error:
            self._damaged(place, 0, error)
