"""The chat of `spanback demo --web`: an app as users write it, with a panel that shows what its telemetry says."""

from spanback.demo.chat._app import Model, create_app
from spanback.demo.chat._serve import serve

__all__ = ["Model", "create_app", "serve"]
