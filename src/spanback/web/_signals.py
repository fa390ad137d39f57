"""What a signal in JSON becomes: checked against what its sender may do, then recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from spanback import _settings, _tokens
from spanback._never_raise import never_raise
from spanback._spanref import looks_like_token
from spanback._tokens import Claims
from spanback.errors import InvalidFeedback, SpoolUnavailable
from spanback.feedback import Receipt
from spanback.feedback._attributes import Relation
from spanback.feedback._ids import new_id
from spanback.feedback._model import USUAL, Feedback, checked
from spanback.feedback._preference import PREFERENCE, sides
from spanback.feedback._record import Checked, aimed, record, record_all, resolved
from spanback.feedback._retract import retract_feedback
from spanback.feedback._rules import checked_feedback_id, checked_user_id
from spanback.feedback._scope import AIM
from spanback.feedback._target import Target
from spanback.web._authority import Authority, missing, not_allowed
from spanback.web._fields import SIGNAL_RULE, read
from spanback.web._http import Problem
from spanback.web._uses import UseCounter

TARGET_RULE: Final = "must be given with an API key: a token, a W3C traceparent or a response id"
REJECTED_RULE: Final = "must be a token, or a list of 1 to 64 tokens"
PREFERENCE_RULE: Final = "must not be given together with rejected or rejected_choice"
USER_RULE: Final = "must be the user whom the token is bound to"
QUERY_RULE: Final = "must not be given: only name is, and target with an API key"

_REJECTED_LIMIT: Final = 64
_ID_LIMIT_CHARACTERS: Final = 100
_RETRY_AFTER: Final = (("retry-after", "5"),)

Answer = dict[str, Any]


class Ready(NamedTuple):
    """A signal that may be recorded.

    Attributes:
        authority: Whose.
        feedback: The signal.
        targets: What it is about.
    """

    authority: Authority
    feedback: Feedback
    targets: tuple[tuple[Target, Relation], ...]


class Signals:
    """Records signals.

    Args:
        uses: Counts the uses of tokens with a limit.
        user_of: Says who sends a request, as the app knows it; None where the app does not say.
        of_token: Checks a token.
    """

    def __init__(
        self,
        uses: UseCounter,
        user_of: Callable[[Any], str | None] | None,
        of_token: Callable[[object], Authority],
    ) -> None:
        self._uses = uses
        self._user_of = user_of
        self._of_token = of_token

    def prepare(self, signal: object, authority: Authority | None, given: Any) -> Ready:
        """Checks a signal; nothing is recorded yet.

        Args:
            signal: The JSON value.
            authority: What the headers allow; None where the signal must hold the token.
            given: The request as the framework has it.

        Raises:
            Problem: Its sender may not give it.
            InvalidFeedback: A field breaks its rule.
        """
        if not isinstance(signal, dict):
            raise InvalidFeedback("signal", signal, SIGNAL_RULE)
        signal = cast("Mapping[str, Any]", signal)
        token = signal.get("token")
        if authority is None:
            if token is None:
                raise missing()
            authority = self._of_token(token)
        arguments = read(signal, is_server=authority.ref is None)
        arguments.pop("token", None)
        said, rejected = arguments.pop("target", None), self._rejected(arguments.pop("rejected", None))
        rejected_choice = arguments.pop("rejected_choice", None)
        is_preference = rejected is not None or rejected_choice is not None
        aim = {name: arguments.pop(name) for name in AIM if name in arguments}
        target: object = authority.ref
        if authority.ref is None:
            target = None if "conversation_id" in aim else self._target(token, said)
        elif token is not None and self._of_token(token).ref != authority.ref:
            raise not_allowed("token", "must be the one in the header")
        usual = PREFERENCE if is_preference else USUAL
        if authority.claims is not None:
            self._limit(authority.claims, arguments, usual.name, given)
        feedback = checked(usual, **arguments, is_bare=is_preference, is_strict=_settings.current().strict)
        targets: tuple[tuple[Target, Relation], ...]
        if is_preference:
            targets = _preference(target, rejected, rejected_choice, {**arguments, **aim})
        else:
            targets = ((aimed(target, aim) if aim else resolved(target), "rates"),)
        if authority.ref is not None:
            # Whichever of several choices is preferred, it is one preference.
            own_id = feedback.feedback_id or _own_id(feedback, {} if is_preference else aim)
            feedback = feedback._replace(feedback_id=authority.seal(own_id))
        return Ready(authority, feedback, targets)

    def count_use(self, authority: Authority) -> None:
        """Counts a use of a token that is good for only so many.

        Raises:
            Problem: It is used up, or nobody can say whether it is.
        """
        claims = authority.claims
        if claims is None or claims.max_uses is None:
            return
        left_s = max(1, claims.expires_at - int(time.time()) + _tokens.LEEWAY_S)
        count = never_raise(self._uses.use, claims.token_id, left_s)
        if count is None:
            raise unavailable("how often the token was used cannot be looked up now")
        if count > claims.max_uses:
            raise not_allowed("token", f"must not be used more than {claims.max_uses} times")

    def record(self, batch: Sequence[Ready]) -> list[Answer]:
        """Records signals that were checked.

        Raises:
            Problem: They could not be kept.
        """
        settings = _settings.current()
        signals: list[Checked] = [(ready.feedback, ready.targets, "auto") for ready in batch]
        try:
            if len(signals) == 1:
                return [_answer(record(*signals[0], settings))]
            return list(map(_answer, record_all(signals, settings)))
        except SpoolUnavailable:
            raise unavailable("the signal cannot be committed now") from None

    def retract(self, feedback_id: str, authority: Authority, given: Any, query: Mapping[str, Sequence[str]]) -> Answer:
        """Withdraws a signal.

        Args:
            feedback_id: Its id.
            authority: Who asks.
            given: The request as the framework has it.
            query: More of the signal: its `name`, and with an API key its `target`.

        Raises:
            Problem: Its sender may not withdraw it.
            InvalidFeedback: The id or the name breaks its rule.
        """
        known = {"name"} if authority.ref is not None else {"name", "target"}
        for field in query.keys() - known:
            raise InvalidFeedback(field, query[field][0], QUERY_RULE)
        name, said_target = (query.get(field, [None])[-1] for field in ("name", "target"))
        target: object = said_target if authority.ref is None else authority.ref
        user = self._user(given)
        if authority.claims is not None and self._user_of is not None:
            _check_user(authority.claims, user)
        sealed = authority.seal(checked_feedback_id(feedback_id))
        try:
            return _answer(retract_feedback(sealed, target, name=name, user_id=user))
        except SpoolUnavailable:
            raise unavailable("the withdrawal cannot be committed now") from None

    def _limit(self, claims: Claims, arguments: dict[str, Any], usual_name: str, given: Any) -> None:
        """What a token limits: who gives which signal."""
        name = arguments.get("name", usual_name)
        if claims.signals is not None and name not in claims.signals:
            raise not_allowed("name", f"must be one of {', '.join(sorted(claims.signals))}")
        said, user = arguments.pop("user_id", None), self._user(given)
        if said is not None:
            said = checked_user_id(said)
            if claims.bound is None or (user is not None and said != user):
                raise not_allowed("user_id", USER_RULE)
        # Without `user_of` the app does not know its users here, and takes the word of whoever holds the token.
        who = user if self._user_of is not None else said
        _check_user(claims, who)
        if who is not None:
            arguments["user_id"] = who

    def _user(self, given: Any) -> str | None:
        """Who sends the request, as the app says; what it raises means nobody."""
        return None if self._user_of is None else never_raise(self._user_of, given)

    def _target(self, token: object, target: object) -> object:
        if token is not None or (isinstance(target, str) and looks_like_token(target)):
            return self._of_token(target if token is None else token).ref
        if not isinstance(target, str):
            raise InvalidFeedback("target", target, TARGET_RULE)
        return target

    def _rejected(self, rejected: object) -> object:
        """The response of a token, or those of a list of tokens; None for none."""
        if rejected is None:
            return None
        tokens = cast("list[object]", rejected) if isinstance(rejected, list) else [rejected]
        if not 0 < len(tokens) <= _REJECTED_LIMIT or not all(isinstance(token, str) for token in tokens):
            raise InvalidFeedback("rejected", None, REJECTED_RULE)
        found = [self._of_token(token).ref for token in tokens]
        return found if isinstance(rejected, list) else found[0]


def _check_user(claims: Claims, user_id: str | None) -> None:
    if not claims.is_for(user_id):
        raise not_allowed("user_id", USER_RULE)


def _preference(
    chosen: object, rejected: object, rejected_choice: object, arguments: Mapping[str, Any]
) -> tuple[tuple[Target, Relation], ...]:
    for field in ("score", "rating", "scale", *AIM):
        if field in arguments and field != "choice":
            raise InvalidFeedback(field, arguments[field], PREFERENCE_RULE)
    return sides(chosen, rejected, "token", choices=(arguments.get("choice"), rejected_choice), choice_field="choice")


def _own_id(feedback: Feedback, aim: Mapping[str, Any]) -> str:
    """The id of a signal that has none: the same for a vote that is given again, else a new one."""
    if feedback.user_id is None and feedback.type == "explicit":
        return new_id(time.time_ns())
    parts = [feedback.criterion or "", *(f"{name}={value}" for name, value in aim.items())]
    more = "/".join(filter(None, parts))
    return f"{feedback.name}/{more}"[:_ID_LIMIT_CHARACTERS] if more else feedback.name


def unavailable(detail: str) -> Problem:
    """What is needed to answer is not there; the client may try again with the same id."""
    return Problem(503, "unavailable", "Not now", detail, headers=_RETRY_AFTER)


def _answer(receipt: Receipt) -> Answer:
    answer: Answer = {"feedback_id": receipt.feedback_id, "status": receipt.status}
    if receipt.omitted:
        answer["omitted"] = list(receipt.omitted)
    return answer
