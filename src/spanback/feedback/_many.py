"""record_many: a batch of signals, checked as a whole before any of it is emitted."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from spanback import _settings
from spanback._never_raise import never_raise
from spanback._said import current_user_id
from spanback._settings import Settings
from spanback._telemetry import TELEMETRY
from spanback.errors import InvalidBatch, InvalidFeedback
from spanback.feedback import _rules
from spanback.feedback._guard import refuse_self_rating
from spanback.feedback._model import checked
from spanback.feedback._problems import problems_of, refusal_of
from spanback.feedback._progress import progress_for
from spanback.feedback._receipt import Receipt
from spanback.feedback._record import Checked, aimed, record, record_all, record_feedback
from spanback.feedback._rules import checked_placement
from spanback.feedback._scope import AIM

PACE: Final = 128
"""So many signals are handed over before the providers are asked to send them. The SDK's queues hold 2,048 records and
drop what does not fit, in silence; spans of the app share them."""

_PARAMETERS: Final = frozenset(inspect.signature(record_feedback).parameters)
_SIGNAL_FIELDS: Final = _PARAMETERS & frozenset(inspect.signature(checked).parameters)


def record_many(
    items: Iterable[Mapping[str, Any]],
    *,
    progress: bool | Callable[[int, int], object] | None = None,
) -> list[Receipt]:
    """Records many signals: all of them, or none where one breaks a rule.

        record_many([
            {"target": first, "signal": signals.THUMBS_UP},
            {"target": second, "rating": 4, "scale": (1, 5), "observed_at": last_week},
        ])

    Every 128 signals it waits until the providers have sent what they hold, since their queues drop what does not fit.
    So a long batch takes as long as its export, and belongs into a thread (`asyncio.to_thread`) where an event loop
    runs. A backend that does not answer is waited for once; then what does not fit into the queues is lost, as are
    single signals then.

    With a spool the batch is one commit, all of it or nothing, and nothing is waited for but the disk.

    Args:
        items: For each signal the arguments of `record_feedback` by name.
        progress: Called as `progress(done, total)` every 128 signals and at the end; what it raises is ignored. True
            draws a bar on a terminal, where `rich` is installed, once the batch takes longer than a second.

    Returns:
        What really happened to each, in the order of the items.

    Raises:
        InvalidBatch: Items break rules; it lists all that is wrong in all of them. Nothing is emitted then.
        SpoolUnavailable: There is a spool that does not take them; nothing is emitted.
        InvalidFeedback: `items` is no iterable of items, or `progress` none of its kinds.
    """
    settings = _settings.current()
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise InvalidFeedback("progress", progress, _rules.PROGRESS_RULE)
    batch = _checked_batch(_list_of(items), settings)
    receipts: list[Receipt] = []
    total = len(batch)
    paced = total > PACE
    with progress_for(progress, total) as tell:
        if TELEMETRY.spool is not None:  # one commit for all; the spool's own limits are no queue's
            receipts = record_all(batch, settings)
            tell(total)
            return receipts
        for number, (feedback, targets, placement) in enumerate(batch, 1):
            receipts.append(record(feedback, targets, placement, settings))
            if number % PACE == 0 or number == total:
                paced = paced and _sent(settings.flush_timeout_s)
                tell(number)
    return receipts


def _list_of(items: object) -> list[Any]:
    is_one = isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable)
    listed = None if is_one else never_raise(list, cast("Iterable[Any]", items))  # what gives the items may fail
    if listed is None:
        raise InvalidFeedback("items", items, _rules.ITEMS_RULE)
    return listed


def _checked_batch(items: list[Mapping[str, Any]], settings: Settings) -> list[Checked]:
    batch: list[Checked] = []
    problems: list[tuple[int, InvalidFeedback]] = []
    for number, item in enumerate(items):
        if refusal_of(_add_item, batch, item, settings) is not None:
            problems += ((number, problem) for problem in _all_problems(item, settings))
    if problems:
        raise InvalidBatch(problems, len(items))
    return batch


def _add_item(batch: list[Checked], item: object, settings: Settings) -> None:
    arguments = _arguments(item)
    for name in arguments:
        if name not in _PARAMETERS:
            raise _unknown(name)
    feedback = checked(**_signal_of(arguments), is_strict=settings.strict)
    target = aimed(arguments.get("target"), _aim_of(arguments))
    refuse_self_rating(feedback, target, settings)
    batch.append((feedback, ((target, "rates"),), checked_placement(_placement_of(arguments))))


def _all_problems(item: object, settings: Settings) -> list[InvalidFeedback]:
    """Everything that is wrong with an item that has been refused."""
    unreadable = refusal_of(_arguments, item)
    if unreadable is not None:
        return [unreadable]
    arguments = _arguments(item)
    problems = [_unknown(name) for name in arguments if name not in _PARAMETERS]
    problems += problems_of(_signal_of(arguments), is_strict=settings.strict)
    target = refusal_of(aimed, arguments.get("target"), _aim_of(arguments))
    others = [target, refusal_of(checked_placement, _placement_of(arguments))]
    if not problems and target is None:
        rated = aimed(arguments.get("target"), _aim_of(arguments))
        feedback = checked(**_signal_of(arguments), is_strict=settings.strict)
        others.append(refusal_of(refuse_self_rating, feedback, rated, settings))
    return [*problems, *filter(None, others)]


def _aim_of(arguments: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: arguments.get(name) for name in AIM}


def _arguments(item: object) -> dict[Any, Any]:
    # The mapping may be of the app's own class, and fail.
    arguments = never_raise(dict, cast("Mapping[Any, Any]", item)) if isinstance(item, Mapping) else None
    if arguments is None:
        raise InvalidFeedback("item", item, _rules.ITEM_RULE)
    return arguments


def _signal_of(arguments: dict[Any, Any]) -> dict[str, Any]:
    given = {name: value for name, value in arguments.items() if name in _SIGNAL_FIELDS}
    return given if given.get("user_id") is not None else {**given, "user_id": current_user_id()}


def _placement_of(arguments: dict[Any, Any]) -> object:
    return arguments.get("placement", "auto")


def _unknown(name: object) -> InvalidFeedback:
    return InvalidFeedback("item", name, _rules.ARGUMENT_RULE)


def _sent(limit_s: float) -> bool:
    """Has the providers send what they hold. False where that failed or took too long: not to be tried again."""
    since_s = time.monotonic()
    providers = TELEMETRY.providers()
    for name in ("traces", "logs"):
        flush = getattr(providers[name], "force_flush", None)
        if flush is not None and not never_raise(flush):
            return False
    return time.monotonic() - since_s <= limit_s
