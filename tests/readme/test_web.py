"""From a click to the span: the snippets for each framework run as they stand, and what the text says of them holds."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings as django_settings

import spanback
from spanback import _settings
from tests.web.clients import request
from tests.web.conftest import KEY

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def snippet(name: str) -> str:
    """A block of the README, by its name."""
    (found,) = re.findall(rf"^```python {name}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture
def run(server, memory, monkeypatch):
    """Runs a snippet with the variables that the README sets, and gives the names that it defines."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "not-needed")
    monkeypatch.setenv("SPANBACK_TOKEN_KEYS", KEY)
    spanback.instrument(**memory.providers, set_up=False)
    yield lambda name: execute(snippet(name))
    spanback.uninstrument()
    _settings.use(None)


def execute(code: str) -> dict[str, Any]:
    """The names that some code defines."""
    module = ModuleType("snippet")
    sys.modules["snippet"] = module
    exec(compile(code, "README.md", "exec"), module.__dict__)
    return module.__dict__


def click(app: Any, kind: Any, chat: str) -> None:
    """What the page of the README does, and what it leads to."""
    answer = request(app, kind, "POST", chat, params={"question": "Where is the Mona Lisa?"})
    assert answer.status_code == 200, answer.text
    token, url = answer.headers["X-Feedback-Token"], answer.headers["X-Feedback-Url"]
    signal = {"token": token, "score": 1, "name": "user_thumbs", "feedback_id": "3f6c1c7e-9d0a-4b3e-8a3e-0c8f7a6b5d4c"}
    assert request(app, kind, "POST", url, json=signal).status_code == 202
    gone = request(app, kind, "DELETE", f"{url}/{signal['feedback_id']}", headers={"Authorization": f"Bearer {token}"})
    assert gone.status_code == 202


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["fastapi", "flask", "django"])
def test_a_click_reaches_the_span(name, run, memory):
    """The app answers, the page rates, and the signal links to the span of the model call."""
    if name == "django":
        chat = execute(
            snippet("flask")
            .partition("@app")[0]
            .replace("from flask import Flask, request\n", "")
            .replace("app = add_feedback(Flask(__name__))\n", "")
        )
        configure_django(chat["client"])
    names = run(name)
    click(names.get("app") or names["application"], "asgi" if name == "fastapi" else "wsgi", "/chat")
    model, given, withdrawn = memory.spans
    assert model.name == "chat gpt-4o-mini"
    assert [span.name for span in (given, withdrawn)] == ["feedback user_thumbs"] * 2
    for span in (given, withdrawn):
        assert [link.context.span_id for link in span.links] == [model.context.span_id]
    client = names.get("client")
    if client is not None and name == "flask":
        client.close()


def configure_django(client: Any) -> None:
    """A project of Django with one view that calls the model."""
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path, set_urlconf

    if not django_settings.configured:
        django_settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF="", MIDDLEWARE=[], USE_TZ=True)
        django.setup()

    def chat(request: Any) -> HttpResponse:
        messages = [{"role": "user", "content": request.GET["question"]}]
        response = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return HttpResponse(response.choices[0].message.content)

    urls: Any = ModuleType("urls")
    urls.urlpatterns = [path("chat", chat)]
    django_settings.ROOT_URLCONF = urls
    clear_url_caches()
    set_urlconf(None)


def test_every_option_that_is_named_is_one():
    """The README names no option that the code does not know."""
    from spanback.web._endpoint import Options
    from spanback.web._handing import Handed

    text = README.partition("`add_feedback()` takes")[2].partition("The parts can be had alone")[0]
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert named <= {*Options._fields, *Handed._fields}
    assert {"keys", "audience", "user_of", "origins", "api_keys"} <= named
