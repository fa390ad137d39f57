"""The chat of `spanback demo --web` in Chromium: every click is the right signal on the right span, in a real Jaeger."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from tests.backends.conftest import jaeger  # noqa: F401 - a fixture
from tests.backends.servers import eventually
from tests.browser.chat import Chat

pytestmark = [pytest.mark.browser, pytest.mark.backends]

QUESTION = "What is the capital of Australia?"
UP = ("feedback user_thumbs", "set", 1.0)
DOWN = ("feedback user_thumbs", "set", -1.0)
GONE = ("feedback user_thumbs", "retract", None)


@pytest.fixture(scope="module")
def chat(browser, jaeger, tmp_path_factory):  # noqa: F811 - the fixture above
    """The demo, one for all tests, sending to Jaeger as well."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{jaeger.otlp_grpc_endpoint}", "OTEL_SERVICE_NAME": f"chat-{uuid4()}"}
    with Chat(tmp_path_factory.mktemp("chat") / "out", env) as running:
        yield running
    assert (running.code, running.error) == (0, "")
    assert f"spanback show {running.folder}" in running.output


@pytest.fixture
def tab(page, chat):
    """The page of the chat, shown."""
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(chat.url)
    page.wait_for_selector("body[data-ready]")
    yield page
    assert [text for text in complaints if "ERR_INTERNET_DISCONNECTED" not in text] == []


def ask(tab, question: str = QUESTION, count: int = 1) -> str:
    """Asks, waits for the answer, and gives the id of its span."""
    tab.get_by_label("Your question").fill(question)
    tab.get_by_role("button", name="Send").click()
    tab.locator(".answer .actions").nth(count - 1).wait_for()
    return span_ids(tab)[-1]


def span_ids(tab) -> list[str]:
    """The spans of the answers on the page, as the page knows them."""
    return tab.evaluate(
        """JSON.parse(sessionStorage.chat).turns.flatMap(({ answers }) => answers)
           .map(({ traceparent }) => traceparent.split('-')[2])"""
    )


def press(tab, label: str, answer: int = 0) -> None:
    """Presses a button of an answer."""
    tab.locator(".answer").nth(answer).get_by_role("button", name=label, exact=True).click()


@pytest.fixture
def on_span(chat, jaeger):  # noqa: F811 - the fixture above
    """The signals that Jaeger has on a span, once there are so many; but `read`, which comes with time."""

    def find(span_id: str, count: int) -> list:
        def carriers() -> list:
            found = jaeger.search(chat.env["OTEL_SERVICE_NAME"], tags={"feedback.target.span_id": span_id})
            return [
                span
                for span in sorted({span.span_id: span for span in found}.values(), key=lambda span: span.start_ns)
                if span.attributes.get("feedback.target.span_id") == span_id and span.name != "feedback read"
            ]

        found = eventually(lambda: carriers() if len(carriers()) >= count else None)
        assert len(found) == count, [shown(span) for span in found]
        assert all(link.span_id == span_id for span in found for link in span.links[:1])
        return found

    return find


def shown(span) -> tuple:
    """A carrier in short: its name, what it does, and the score."""
    return span.name, span.attributes["feedback.action"], span.attributes.get("feedback.score")


def ids(carriers) -> set[str]:
    """The ids of signals."""
    return {carrier.attributes["feedback.id"] for carrier in carriers}


def test_what_is_said_of_an_answer_is_on_its_span(tab, context, on_span):
    """Thumb, reason, stars, a correction and a copy, each as it was given."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    span_id = ask(tab)
    for label in ("Bad answer", "incorrect", "2 of 5 stars", "Copy"):
        press(tab, label)
    assert tab.evaluate("navigator.clipboard.readText()") == "The capital of Australia is Sydney."
    press(tab, "Edit")
    tab.get_by_label("Your version of the answer").fill("The capital of Australia is Canberra.")
    press(tab, "Save")
    carriers = on_span(span_id, 5)
    assert [shown(span) for span in carriers] == [
        DOWN,
        DOWN,
        ("feedback stars", "set", -0.5),
        ("feedback copied", "set", 1.0),
        ("feedback edited", "set", -0.5),
    ]
    down, reason, stars, copied, edited = [span.attributes for span in carriers]
    assert down["feedback.id"] == reason["feedback.id"]
    assert "feedback.label" not in down
    assert reason["feedback.label"] == "incorrect"
    assert [stars[f"feedback.score.{part}"] for part in ("raw", "min", "max")] == [2.0, 1.0, 5.0]
    assert [one["feedback.type"] for one in (reason, stars, copied, edited)] == ["explicit"] * 2 + ["implicit"] * 2
    assert [one["feedback.weight"] for one in (reason, stars, copied, edited)] == [0.8, 0.8, 0.4, 0.4]
    assert edited["feedback.improvement"] == '"The capital of Australia is Canberra."'
    for attributes in (down, stars, copied, edited):
        assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
        assert attributes["gen_ai.prompt.name"] == "travel-assistant"
        assert attributes["gen_ai.prompt.version"] == "1"
        assert re.fullmatch(r"conv_[0-9a-f]{12}", attributes["gen_ai.conversation.id"])
    assert tab.locator(".answer-text").text_content() == "The capital of Australia is Canberra."


def test_a_mind_changes_across_a_reload(tab, on_span):
    """Up, a reload, down, and cleared: one signal, replaced and then withdrawn."""
    span_id = ask(tab)
    press(tab, "Good answer")
    on_span(span_id, 1)
    tab.reload()
    assert tab.get_by_role("button", name="Good answer").get_attribute("aria-pressed") == "true"
    assert tab.locator(".answer-text").text_content() == "The capital of Australia is Sydney."
    press(tab, "Bad answer")
    press(tab, "Bad answer")
    carriers = on_span(span_id, 3)
    assert [shown(span) for span in carriers] == [UP, DOWN, GONE]
    assert len(ids(carriers)) == 1


def test_another_answer_has_a_span_of_its_own(tab, on_span):
    """To regenerate says something of the first answer; the thumb below the second is about the second."""
    first = ask(tab)
    press(tab, "Regenerate")
    tab.locator(".answer .actions").nth(1).wait_for()
    second = span_ids(tab)[1]
    press(tab, "Good answer", answer=1)
    assert [shown(span) for span in on_span(first, 1)] == [("feedback regenerated", "set", -1.0)]
    assert [shown(span) for span in on_span(second, 1)] == [UP]
    texts = tab.locator(".answer-text").all_text_contents()
    assert texts == ["The capital of Australia is Sydney.", "It is Canberra, not Sydney."]


def test_the_better_of_two_drafts_is_preferred(tab, on_span):
    """Both drafts are links of one signal, which a changed mind withdraws; they were asked with two prompts."""
    tab.get_by_label("Your question").fill("When should I visit Kyoto?")
    tab.get_by_role("button", name="Two drafts").click()
    better = tab.locator(".prefer")
    better.nth(1).click()
    one, two = span_ids(tab)
    (first,) = on_span(two, 1)
    better.nth(0).click()
    (second,) = on_span(one, 1)
    assert (first.name, second.name) == ("feedback preference", "feedback preference")
    for carrier, chosen, rejected in ((first, two, one), (second, one, two)):
        links = {link.attributes["feedback.relation"]: link.span_id for link in carrier.links}
        assert links == {"chosen": chosen, "rejected": rejected}
    versions = [carrier.attributes["gen_ai.prompt.version"] for carrier in (first, second)]
    assert versions == ["2", "1"]
    told, withdrawn = on_span(two, 2)
    assert told.span_id == first.span_id
    assert withdrawn.attributes["feedback.action"] == "retract"
    assert withdrawn.attributes["feedback.id"] == first.attributes["feedback.id"]


def test_what_is_said_offline_arrives_later(tab, context, on_span):
    """Clicks without a network wait for it; only what was chosen last is sent."""
    span_id = ask(tab)
    context.set_offline(True)
    for label in ("Good answer", "Bad answer", "5 of 5 stars"):
        press(tab, label)
    context.set_offline(False)
    assert {shown(span) for span in on_span(span_id, 2)} == {DOWN, ("feedback stars", "set", 1.0)}


def test_a_tab_closed_right_after_the_click_has_said_it(tab, on_span):
    """The signal arrives although its page is gone."""
    span_id = ask(tab)
    press(tab, "Good answer")
    tab.close(run_before_unload=True)
    assert [shown(span) for span in on_span(span_id, 1)] == [UP]


def test_an_answer_that_fails_says_so(tab):
    """A failed call is shown as one, in the chat and in the panel, and cannot be rated."""
    tab.get_by_role("button", name="Which trips are left for Easter?").click()
    failed = tab.locator(".answer.failed")
    assert "The model gave no answer" in failed.text_content()
    assert failed.get_by_role("button").count() == 0
    tab.locator(".span.failed").get_by_text("error.type RateLimitError").first.wait_for()


def test_the_panel_shows_what_the_telemetry_says(tab):
    """Span, signal, a changed score and a withdrawal appear by themselves; pointing at an answer names its span."""
    span_id = ask(tab)
    card = tab.locator(f'[data-span="{span_id}"]')
    card.wait_for()
    for text in ("chat gpt-4o-mini", f"span {span_id}", "prompt travel-assistant v1", "conversation conv_"):
        assert text in card.text_content()
    press(tab, "Good answer")
    card.locator(".signal.positive").get_by_text("user_thumbs").wait_for()
    press(tab, "Bad answer")
    card.locator(".signal.negative").get_by_text("-1", exact=True).wait_for()
    assert card.locator(".signal").count() == 1
    press(tab, "Bad answer")
    card.locator(".signal").wait_for(state="detached")
    tab.locator(".answer").hover()
    assert "named" in card.get_attribute("class")


def test_the_chat_works_with_the_keyboard_alone(tab, on_span):
    """Ask, rate, correct and prefer without a pointer."""
    tab.get_by_label("Your question").focus()
    tab.keyboard.type(QUESTION)
    tab.keyboard.press("Enter")
    tab.locator(".answer .actions").wait_for()
    span_id = span_ids(tab)[0]
    tab.get_by_label("Conversation").focus()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # the thumb up
    for _ in range(5):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Space")  # four stars
    for _ in range(4):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # edit
    tab.keyboard.press("Control+a")
    tab.keyboard.type("Canberra.")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # save
    assert tab.evaluate("document.activeElement.textContent") == "Edit"
    signals = [shown(span) for span in on_span(span_id, 3)]
    assert signals == [UP, ("feedback stars", "set", 0.5), ("feedback edited", "set", -0.5)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_the_page_is_accessible(browser, chat, scheme, size):
    """axe-core finds nothing, on the empty page, with answers of all kinds, and in the panel."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    viewport = {"width": size[0], "height": size[1]}
    with browser.new_context(color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as context:
        tab = context.new_page()
        tab.goto(chat.url)
        tab.wait_for_selector("body[data-ready]")
        reports = [axe.run(tab)]
        ask(tab)
        press(tab, "Bad answer")
        press(tab, "incorrect")
        press(tab, "5 of 5 stars")
        press(tab, "Edit")
        tab.get_by_label("Your question").fill("Plan two days in Lisbon.")
        tab.get_by_role("button", name="Two drafts").click()
        tab.locator(".prefer").nth(0).click()
        reports.append(axe.run(tab))
        if size[0] < 900:
            tab.get_by_role("button", name="Telemetry").click()
        tab.locator(".signal.positive").first.wait_for()
        reports.append(axe.run(tab))
    assert [report.generate_report() for report in reports if report.violations_count] == []
