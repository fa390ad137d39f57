"""Sends what is spooled: a thread of its own for each kind, retries ordered by us, one process at a time.

A record is deleted only after the backend has accepted it. Whatever happens in between, a killed process or a lost
answer, it is sent again: delivery is at least once, and the feedback's id makes it one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from opentelemetry.instrumentation.utils import suppress_instrumentation

from spanback._never_raise import never_raise
from spanback.errors import SpoolUnavailable
from spanback.export._spool._post import Answer
from spanback.export._spool._store import LEASE_S, Kind, Outbox, Row
from spanback.export._spool._wire import request

if TYPE_CHECKING:
    from spanback.export._guard import Address
    from spanback.export._spool._post import Post

LINGER_S: Final = 0.1
"""How long a signal waits for others to share a request with."""
IDLE_S: Final = 5.0
"""How often it is looked for what another process has left."""
FIRST_BACKOFF_S: Final = 0.5
BACKOFF_LIMIT_S: Final = 30.0
DEFER_LIMIT_S: Final = 3_600.0

_HELD_S: Final = 0.25
_RENEW_S: Final = LEASE_S / 3
_BATCH_RECORDS: Final = 512
_BATCH_BYTES: Final = 2 * 1024 * 1024  # half of what servers of gRPC take unless told otherwise
_SAY_AGAIN_S: Final = 60.0
_REFUSED_S: Final = 600.0
_logger: Final = logging.getLogger("spanback.export")


Outcome = Literal["clear", "waiting", "held"]
"""How a round ended: nothing waits; something waits, for later; another process is sending."""


class _Stop(Exception):  # noqa: N818 - no error: it ends a round
    """The round is over: the backend wants to be left alone for a while, or another process sends now."""

    def __init__(self, answer: Answer | None) -> None:
        super().__init__()
        self.answer = answer


class Sender:
    """Sends the records of one kind.

    Args:
        kind: Which.
        outbox: Where they are.
        make_post: Makes what sends; called in the sending thread, again after each fork.
        address: Is told of troubles.

    Attributes:
        address: As given.
    """

    def __init__(self, kind: Kind, outbox: Outbox, make_post: Callable[[], Post], address: Address) -> None:
        self._kind: Kind = kind
        self._outbox = outbox
        self._make_post = make_post
        self.address = address
        self._post: Post | None = None
        self._refusal_said = False
        self._refused_until_s = 0.0
        self._not_before_s = 0.0
        self._silent_until_s = 0.0
        self._claimed_s = 0.0
        self._thread: threading.Thread | None = None
        self.forget()

    def forget(self) -> None:
        """Makes a new start, in a child that was forked: threads and connections stay with the parent."""
        self._thread, self._post = None, None
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._is_hurried = False
        self._is_stopping = False
        self._rounds = threading.Condition()
        self._begun = self._ended = 0
        self._outcome: Outcome = "waiting"

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the thread unless it runs.

        Raises:
            RuntimeError: The interpreter is going down.
        """
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"spanback-spool-{self._kind}", daemon=True)
                self._thread = thread
                thread.start()

    def wake(self) -> None:
        """Says that there is something to send."""
        if not self._wake.is_set():  # else the next round, which has not looked yet, finds it
            self._wake.set()

    def drain(self, deadline_s: float) -> bool:
        """Sends what waits, at once, and gives up with the first failure.

        Args:
            deadline_s: Until when to wait, of the monotonic clock.

        Returns:
            Whether nothing waits any more.
        """
        while self.is_running:
            outcome = self._next_outcome(deadline_s)
            if outcome != "held":
                return outcome == "clear"
        return False

    def _next_outcome(self, deadline_s: float) -> Outcome:
        with self._rounds:
            # The round under way may have looked before the last commit.
            mine = self._begun + 1
            self._is_hurried = True
            self._wake.set()
            while self._ended < mine:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return "waiting"
                self._rounds.wait(left_s)
            return self._outcome

    def stop(self, timeout_s: float) -> None:
        """Ends the thread after its present request, and waits for that no longer than the timeout."""
        thread, self._is_stopping = self._thread, True
        self._wake.set()
        if thread is not None:
            thread.join(timeout_s)
            self._thread = None

    def _run(self) -> None:
        wait_s = 0.0
        with suppress_instrumentation():  # an app may trace its own requests; this one is none of them
            while not self._is_stopping:
                if self._wake.wait(wait_s) and not self._is_hurried:
                    time.sleep(LINGER_S)
                self._wake.clear()
                if self._is_stopping:
                    break
                found_s = never_raise(self._round)
                wait_s = IDLE_S if found_s is None else found_s
        if self._post is not None:
            self._post.close()
        self._outbox.close()  # a round that was under way may have opened it again

    def _round(self) -> float:
        """One look at what there is to send, and when to look again."""
        with self._rounds:
            self._begun += 1
            number = self._begun
            is_hurried, self._is_hurried = self._is_hurried, False
        outcome: Outcome = "waiting"
        wait_s = IDLE_S
        try:
            outcome, wait_s = self._tried(is_hurried=is_hurried)
        except SpoolUnavailable as error:
            self._complain(error)
        finally:
            with self._rounds:
                self._ended, self._outcome = number, outcome
                self._rounds.notify_all()
        return wait_s

    def _complain(self, error: SpoolUnavailable) -> None:
        """One WARNING a minute."""
        now_s = time.monotonic()
        if now_s >= self._silent_until_s:
            self._silent_until_s = now_s + _SAY_AGAIN_S
            _logger.warning("No %s are sent from the spool %s: %s.", self._kind, error.path, error.reason)

    def _tried(self, *, is_hurried: bool) -> tuple[Outcome, float]:
        """Sends until nothing is due."""
        if not self._outbox.has_any(self._kind):
            return "clear", IDLE_S
        now_ns = time.time_ns()
        lane = self._outbox.lane(self._kind, now_ns)
        if lane.is_held:
            return "held", _HELD_S
        if lane.next_ns > now_ns and (not is_hurried or time.monotonic() < self._not_before_s):
            return "waiting", (lane.next_ns - now_ns) / 1e9
        if not self._outbox.claim(self._kind, now_ns):
            return "held", _HELD_S
        self._claimed_s = time.monotonic()
        if self._claimed_s < self._refused_until_s:
            self._outbox.delete_twins(self._kind)
        attempts = lane.attempts
        try:
            while rows := self._batch(attempts):
                self._deliver(rows)
                attempts = 0
        except _Stop as stop:
            return ("held", _HELD_S) if stop.answer is None else ("waiting", self._back_off(stop.answer, attempts))
        self._outbox.settle(self._kind, 0, 0, None)
        return "waiting" if self._outbox.has_any(self._kind) else "clear", IDLE_S

    def _batch(self, attempts: int) -> list[Row]:
        # After failures that may be one record's fault it is looked for with ever smaller requests.
        limit = max(1, _BATCH_RECORDS >> attempts)
        return [] if self._is_stopping else self._outbox.batch(self._kind, time.time_ns(), limit, _BATCH_BYTES)

    def _deliver(self, rows: Sequence[Row]) -> None:
        """Sends rows, in halves where one of them may be at fault, down to that one."""
        self._renew()
        answer = self._send(rows)
        if answer.verdict == "accepted":
            self.address.answered = True
            self._outbox.delete(self._kind, (row.id for row in rows))
        elif answer.verdict in ("rejected", "too large"):
            if len(rows) > 1:
                middle = len(rows) // 2
                self._deliver(rows[:middle])
                self._deliver(rows[middle:])
            else:
                self._outbox.bury(rows, answer.reason, time.time_ns())
                self.address.complain(f"feedback {rows[0].record.feedback_id}", f"it is rejected: {answer.reason}")
        elif answer.verdict == "refused" and self._drop_refused(answer):
            return
        else:
            if answer.verdict == "broken" and len(rows) == 1:
                delay_s = min(DEFER_LIMIT_S, BACKOFF_LIMIT_S * 2 ** min(rows[0].attempts, 10))
                self._outbox.defer(rows[0], time.time_ns() + int(delay_s * 1e9))
            raise _Stop(answer)

    def _send(self, rows: Sequence[Row]) -> Answer:
        if self._post is None:
            try:
                self._post = self._make_post()
            except (ValueError, OSError, ImportError) as error:
                return Answer("misconfigured", str(error))
        return self._post.send(request(row.record for row in rows))

    def _drop_refused(self, answer: Answer) -> bool:
        """Log records that a backend for traces alone does not take, while their spans say the same."""
        if self._kind != "logs" or self._outbox.delete_twins(self._kind) == 0:
            return False
        self._refused_until_s = time.monotonic() + _REFUSED_S
        if not self._refusal_said:
            self._refusal_said = True
            _logger.info(
                "%s takes no logs (%s); the spans say the same. Set SPANBACK_EMIT=span to spool them alone.",
                self.address.url,
                answer.reason,
            )
        return True

    def _renew(self) -> None:
        if time.monotonic() - self._claimed_s > _RENEW_S:
            if not self._outbox.claim(self._kind, time.time_ns()):
                raise _Stop(None)
            self._claimed_s = time.monotonic()

    def _back_off(self, answer: Answer, attempts: int) -> float:
        """Notes for all processes when to try again: exponential, with full jitter, or as the backend asks."""
        most_s = min(BACKOFF_LIMIT_S, FIRST_BACKOFF_S * 2 ** min(attempts, 10))
        wait_s = random.uniform(0, most_s)  # noqa: S311 - no secret
        if answer.retry_after_s is not None:
            wait_s += answer.retry_after_s
            self._not_before_s = time.monotonic() + answer.retry_after_s
        self._outbox.settle(self._kind, attempts + 1, time.time_ns() + int(wait_s * 1e9), answer.reason)
        self.address.complain(self._kind, answer.reason)
        return wait_s
