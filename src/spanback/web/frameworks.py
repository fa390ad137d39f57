"""Tokens on responses and the endpoint, put into an app in one line."""

from __future__ import annotations

import inspect
from typing import Any, Final, TypeVar

from spanback.errors import InvalidSetting
from spanback.web import asgi, wsgi

App = TypeVar("App")

APP_RULE: Final = "must be a FastAPI, Starlette or Flask app, or an ASGI or WSGI application such as Django's"
PATH_RULE: Final = "must begin with a slash and not end with one"

_TERMS: Final = frozenset({"url", "signals", "expires_in_s", "max_uses", "events"})
_SHARED: Final = frozenset({"keys", "audience", "user_of"})


def add_feedback(app: App, path: str = "/feedback", **options: Any) -> App:
    """Lets people rate what an app answers: tokens go out with responses, and the endpoint takes the feedback.

        add_feedback(app)                                           # FastAPI, Starlette, Flask
        application = add_feedback(get_wsgi_application())          # Django, and every other WSGI or ASGI app

    Args:
        app: The app. With FastAPI and Starlette, a middleware that `user_of` needs, such as for sessions, is added
            after this.
        path: Where the endpoint is.
        options: Those of the tokens: `url` (where browsers find the endpoint, if that is not at `path`, as behind a
            proxy that takes a prefix away), `signals`, `expires_in_s`, `max_uses`, `events`; those of the endpoint,
            such as `origins` or `api_keys`; and for both `keys`, `audience` and `user_of`.

    Returns:
        The app; of Django the application to be served instead.

    Raises:
        MissingTokenKey: There is no key to sign tokens with.
        InvalidSetting: An argument breaks its rule.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidSetting("path", path, PATH_RULE)
    handed = {name: value for name, value in options.items() if name in _TERMS | _SHARED}
    taken = {name: value for name, value in options.items() if name not in _TERMS}
    handed.setdefault("url", path)
    found: Any = app
    if hasattr(found, "add_middleware"):
        feedback = asgi.FeedbackApp(**taken)
        asgi.FeedbackMiddleware(found, **handed)  # so that what is wrong is said here
        found.add_middleware(_Both, path=path, feedback=feedback, handed=handed)
        return app
    if hasattr(found, "wsgi_app"):
        inner = wsgi.FeedbackMiddleware(found.wsgi_app, **handed)
        found.wsgi_app = wsgi.mounted(inner, path, wsgi.FeedbackApp(**taken))
        return app
    if not callable(app):
        raise InvalidSetting("app", app, APP_RULE)
    is_async = inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__)
    both: Any
    if is_async:
        both = _Both(found, path=path, feedback=asgi.FeedbackApp(**taken), handed=handed)
    else:
        both = wsgi.mounted(wsgi.FeedbackMiddleware(found, **handed), path, wsgi.FeedbackApp(**taken))
    return both


class _Both:
    """The endpoint at its path, the app with tokens elsewhere."""

    def __init__(self, app: asgi.Application, *, path: str, feedback: asgi.FeedbackApp, handed: dict[str, Any]) -> None:
        self._app = asgi.mounted(asgi.FeedbackMiddleware(app, **handed), path, feedback)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        await self._app(scope, receive, send)
