"""The browser module and the real endpoint on different hosts."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import uvicorn

from spanback._token_keys import new_key
from spanback.testing import fake_ref
from spanback.web.asgi import FeedbackApp
from tests.backends.loopback import free_ports
from tests.backends.servers import eventually

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><title>Page</title><feedback-thumbs token="%s"></feedback-thumbs>
<script type="module">
  import { configure } from '/feedback/feedback.js';
  configure({ url: '%s' });
  globalThis.told = [];
  document.addEventListener('feedback-recorded', ({ detail }) => told.push(detail.answer.status));
</script>"""


@contextmanager
def served(**options: object):
    """The endpoint of spanback, alone, at an address of its own."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(FeedbackApp(**options), port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_page_of_an_allowed_origin_gives_and_withdraws(page, endpoint, instrument, memory):
    """A thumb and its withdrawal cross from one host to the other, preflight and all, without a cookie."""
    instrument()
    key = new_key()
    token = fake_ref(request_model="gpt-4o-mini").token(keys=[key])
    with served(keys=[key], origins=[endpoint.url.rstrip("/")]) as url:
        endpoint.page = PAGE % (token, url)
        page.goto(endpoint.url)
        for label, count in (("Good answer", 1), ("Good answer", 2)):
            page.get_by_role("button", name=label).click()
            page.wait_for_function(f"globalThis.told?.length === {count}")
    assert page.evaluate("told") == ["recorded", "recorded"]
    actions = [(span.name, span.attributes["feedback.action"]) for span in memory.spans]
    assert actions == [("feedback user_thumbs", "set"), ("feedback user_thumbs", "retract")]
    assert len({span.attributes["feedback.id"] for span in memory.spans}) == 1
    assert endpoint.requests == []
    assert page.context.cookies() == []


def test_a_page_of_another_origin_is_refused(page, endpoint, instrument, memory):
    """A page that the app has not allowed gives nothing, although it holds a token."""
    instrument()
    key = new_key()
    with served(keys=[key], origins=["https://app.example.com"]) as url:
        endpoint.page = PAGE % (fake_ref().token(keys=[key]), url)
        page.goto(endpoint.url)
        with page.expect_event("requestfailed") as failed:
            page.get_by_role("button", name="Good answer").click()
        assert (failed.value.method, failed.value.url) == ("POST", f"{url}/")
    assert memory.spans == []


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_beacon_of_a_page_is_taken_as_any_other_signal(page, endpoint, instrument, memory, is_allowed):
    """The real endpoint takes the text with the token in it from pages that the app has allowed, and no other."""
    instrument()
    key = new_key()
    token = fake_ref(request_model="gpt-4o-mini").token(keys=[key])
    with served(keys=[key], origins=[endpoint.url.rstrip("/")] if is_allowed else []) as url:
        endpoint.page = "<!doctype html><title>Page</title>"
        page.goto(endpoint.url)
        signal = {"score": 1, "name": "user_thumbs", "feedback_id": "a", "token": token}
        with page.expect_event("requestfinished" if is_allowed else "request") as asked:
            assert page.evaluate("([url, signal]) => navigator.sendBeacon(url, JSON.stringify(signal))", [url, signal])
        answer = asked.value.response()
        assert (asked.value.method, answer.status) == ("POST", 202 if is_allowed else 403)
        assert asked.value.headers["content-type"] == "text/plain;charset=UTF-8"
    assert [span.name for span in memory.spans] == ["feedback user_thumbs"] * is_allowed
