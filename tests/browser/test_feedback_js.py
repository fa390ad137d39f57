"""What the browser module sends, keeps and shows."""

from __future__ import annotations

import base64
import json

import pytest

from tests.backends.servers import eventually
from tests.browser.endpoint import Answer, Endpoint, Request

pytestmark = pytest.mark.browser


def token_of(claims: dict) -> str:
    """What has the shape of a token; the browser checks none."""
    encoded = base64.urlsafe_b64encode(json.dumps(claims, ensure_ascii=False).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{encoded}.c2lnbmF0dXJl"


TOKEN = token_of({"t": "EjRWeJCrze8", "m": "gpt-4.1", "n": "Größe?>"})
PAGE = """<!doctype html><html lang="en"><title>Answer</title><main>
<p id="answer">The capital of Australia is Canberra.
  <button data-signal="regenerated">Again</button> <button data-signal="other">Other</button></p>
<feedback-thumbs token="%(token)s"></feedback-thumbs>
<feedback-stars token="%(token)s"></feedback-stars>
<script type="module">
  import * as feedback from '/feedback/feedback.js';
  globalThis.feedback = feedback;
  globalThis.told = [];
  for (const how of ['recorded', 'refused', 'expired']) {
    document.addEventListener(`feedback-${how}`, ({ detail }) => told.push([how, detail]));
  }
  document.addEventListener('feedback', ({ detail }) => told.push(['chosen', detail]));
</script></main></html>"""
UP = {"name": "user_thumbs", "weight": 0.8, "score": 1}
DOWN = {"name": "user_thumbs", "weight": 0.8, "score": -1}


def stars_of(rating: int) -> dict:
    """What so many stars are on the wire."""
    return {"name": "stars", "weight": 0.8, "rating": rating, "scale": [1, 5]}


@pytest.fixture
def endpoint(endpoint):
    """The endpoint with the page of this module."""
    endpoint.page = PAGE % {"token": TOKEN}
    return endpoint


@pytest.fixture
def answer(page, endpoint):
    """The page, shown."""
    page.goto(endpoint.url)
    page.wait_for_function("globalThis.feedback")
    return page


def sent(endpoint: Endpoint, count: int) -> list[dict]:
    """The signals, once there are so many."""
    eventually(lambda: len(endpoint.requests) >= count)
    assert len(endpoint.requests) == count
    return endpoint.bodies


def settled(page) -> None:
    """Waits until nothing is on its way."""
    page.wait_for_function("!Object.keys(localStorage).some((key) => key.startsWith('spanback:q:'))")


def press(page, label: str) -> None:
    """Clicks a button by the name that people hear."""
    page.get_by_role("button", name=label, exact=True).click()


def pressed(page) -> list[str]:
    """The labels of the buttons that are pressed."""
    return [button.get_attribute("aria-label") for button in page.locator("[aria-pressed=true]").all()]


def test_a_thumb_is_one_request_with_token_and_id(answer, endpoint):
    """A click sends the signal at once; the button shows it and the page is told."""
    press(answer, "Good answer")
    (request,) = eventually(lambda: endpoint.requests)
    feedback_id = request.body["feedback_id"]
    assert request == Request("POST", {**UP, "feedback_id": feedback_id, "token": TOKEN})
    assert pressed(answer) == ["Good answer"]
    settled(answer)
    chosen, recorded = answer.evaluate("told")
    assert chosen == ["chosen", {"feedbackId": feedback_id, "name": "user_thumbs", "signal": UP}]
    answered = {"feedback_id": feedback_id, "status": "recorded"}
    outcome = {"feedbackId": feedback_id, "name": "user_thumbs", "isRetracted": False, "status": 202}
    assert recorded == ["recorded", {**outcome, "answer": answered}]


def test_a_changed_mind_replaces_and_a_cleared_one_retracts(answer, endpoint):
    """Up, down, and down again: two signals and a withdrawal, all with one id; then a new signal with it as well."""
    for label in ("Good answer", "Bad answer", "Bad answer", "Good answer"):
        press(answer, label)
        settled(answer)
    assert [request.method for request in endpoint.requests] == ["POST", "POST", "DELETE", "POST"]
    assert len(set(endpoint.ids)) == 1
    assert endpoint.bodies == [UP, DOWN, {"name": "user_thumbs"}, UP]
    assert endpoint.requests[2].body["token"] == TOKEN
    assert pressed(answer) == ["Good answer"]


def test_a_choice_outlives_its_page(answer, endpoint):
    """After a reload the button is still pressed, and another choice replaces the first one."""
    press(answer, "Good answer")
    settled(answer)
    answer.reload()
    answer.wait_for_function("globalThis.feedback")
    assert pressed(answer) == ["Good answer"]
    press(answer, "Bad answer")
    assert sent(endpoint, 2) == [UP, DOWN]
    assert len(set(endpoint.ids)) == 1


def test_stars_are_a_rating_on_a_scale(answer, endpoint):
    """Four stars, then two, then none."""
    for number in (4, 2, 2):
        press(answer, f"{number} of 5 stars")
        settled(answer)
    assert endpoint.bodies == [stars_of(4), stars_of(2), {"name": "stars"}]
    assert len(set(endpoint.ids)) == 1
    assert pressed(answer) == []
    press(answer, "3 of 5 stars")
    assert answer.locator("feedback-stars .on").count() == 3


def test_functions_give_what_the_page_wants(answer, endpoint):
    """`rate` passes the fields on, `correct` gives an improvement, `retract` withdraws by name."""
    answer.evaluate(
        """(token) => {
          feedback.rate(token, { label: 'hallucination', comment: 'Sydney is not it' });
          feedback.rate(token, { name: 'tone', score: 0.5, feedback_id: 'mine' });
          feedback.correct(token, 'Canberra', { metadata: { page: 'chat' } });
        }""",
        TOKEN,
    )
    sent(endpoint, 3)
    settled(answer)
    edited = {"name": "edited", "score": -0.5, "weight": 0.4, "type": "implicit", "improvement": "Canberra"}
    assert sorted(endpoint.bodies, key=lambda body: body["name"]) == [
        {**edited, "metadata": {"page": "chat"}},
        {"name": "tone", "score": 0.5},
        {"name": "user_feedback", "label": "hallucination", "comment": "Sydney is not it"},
    ]
    assert answer.evaluate("(token) => feedback.given(token, 'tone')", TOKEN) == {"name": "tone", "score": 0.5}
    assert answer.evaluate("(token) => feedback.retract(token, 'tone')", TOKEN) == "mine"
    assert answer.evaluate("(token) => feedback.retract(token, 'tone') ?? null", TOKEN) is None
    assert answer.evaluate("(token) => feedback.given(token, 'tone') ?? null", TOKEN) is None
    eventually(lambda: len(endpoint.requests) == 4)
    assert endpoint.requests[3] == Request("DELETE", {"feedback_id": "mine", "token": TOKEN, "name": "tone"})


def test_offline_signals_wait_and_say_when_they_were_given(answer, context, endpoint):
    """Nothing is tried while the machine is offline; back online the last choice goes, with the time of its click."""
    answer.clock.install(time="2026-11-21T08:00:00Z")
    context.set_offline(True)
    press(answer, "Good answer")
    press(answer, "Bad answer")
    press(answer, "5 of 5 stars")
    answer.clock.fast_forward(60_000)
    assert endpoint.requests == []
    context.set_offline(False)
    bodies = sent(endpoint, 2)
    times = [body.pop("observed_at") for body in bodies]
    assert bodies == [DOWN, stars_of(5)]
    assert all(time.startswith("2026-11-21T08:00:0") and time.endswith("Z") for time in times)


def test_offline_signals_outlive_their_page(answer, context, endpoint):
    """A signal given offline is sent by the next page of the app, even in another tab."""
    context.set_offline(True)
    press(answer, "Good answer")
    answer.close()
    context.set_offline(False)
    context.new_page().goto(endpoint.url)
    assert sent(endpoint, 1)[0].items() >= UP.items()


@pytest.mark.parametrize("is_changed", [False, True], ids=["once", "changed"])
def test_a_tab_closed_right_after_the_click_has_sent_it(answer, context, endpoint, is_changed):
    """The request outlives its page, also where an earlier one has not been answered yet."""
    answer.evaluate(
        """(isChanged) => {
          const [up, down] = document.querySelector('feedback-thumbs').shadowRoot.querySelectorAll('button');
          up.click();
          if (isChanged) down.click();
        }""",
        is_changed,
    )
    answer.close(run_before_unload=True)
    eventually(lambda: endpoint.bodies and endpoint.bodies[-1] == (DOWN if is_changed else UP))
    assert len(set(endpoint.ids)) == 1


WITHOUT_KEEPALIVE = """
  delete Request.prototype.keepalive;
  const whole = fetch;
  globalThis.fetch = (url, { keepalive, ...more }) => whole(url, more);
"""


def test_where_requests_end_with_their_page_a_beacon_is_sent(page, context, endpoint):
    """A browser that knows no `keepalive` breaks off what has not been answered; the next page says it again."""
    page.add_init_script(WITHOUT_KEEPALIVE)
    page.goto(endpoint.url)
    page.wait_for_function("globalThis.feedback")
    endpoint.is_stalled.set()
    page.evaluate("document.querySelector('feedback-thumbs').shadowRoot.querySelector('button').click()")
    page.close(run_before_unload=True)
    eventually(lambda: any(request.is_beacon for request in endpoint.requests))
    endpoint.is_stalled.clear()
    tab = context.new_page()
    tab.goto(endpoint.url)
    settled(tab)
    assert endpoint.requests[-1].is_beacon is False
    assert all({key: body[key] for key in UP} == UP for body in endpoint.bodies)
    assert len(set(endpoint.ids)) == 1


def test_what_a_hidden_page_cannot_fetch_is_tried_as_a_beacon(answer, endpoint):
    """As where the quota of `keepalive` is used up. What that does not take either waits for the page to be seen."""
    answer.evaluate(
        """() => {
          globalThis.beacons = [];
          const [whole, refused] = [fetch, () => Promise.reject(new TypeError('Failed to fetch'))];
          globalThis.fetch = refused;
          navigator.sendBeacon = (url, text) => beacons.push([url, JSON.parse(text).name]) > 1;
          feedback.rate(document.querySelector('feedback-thumbs').getAttribute('token'), { score: 1, name: 'first' });
          globalThis.seen = () => (globalThis.fetch = whole);
        }"""
    )
    answer.wait_for_function("Object.values(localStorage).some((text) => JSON.parse(text).tries === 1)")
    assert answer.evaluate("beacons") == []
    answer.evaluate("dispatchEvent(new Event('pagehide'))")
    answer.wait_for_function("Object.values(localStorage).some((text) => JSON.parse(text).tries === 2)")
    assert answer.evaluate("beacons") == [[f"{endpoint.url}feedback/", "first"]]
    answer.evaluate("seen(); dispatchEvent(new Event('pageshow'))")
    settled(answer)
    assert endpoint.bodies == [{"name": "first", "score": 1}]


@pytest.mark.parametrize("status", [500, 503, 429, 425])
def test_what_may_pass_is_tried_again_with_the_same_id(answer, endpoint, status):
    """An error of the server is waited out, each time for longer."""
    answer.clock.install()
    endpoint.answers.extend([Answer(status), Answer(status)])
    press(answer, "Good answer")
    for count in (1, 2):
        answer.wait_for_function(f"Object.values(localStorage).some((text) => JSON.parse(text).tries === {count})")
        sent(endpoint, count)
        answer.clock.fast_forward(1_000 * 2 ** (count - 1) + 50)
    assert sent(endpoint, 3) == [UP, UP, UP]
    assert len(set(endpoint.ids)) == 1
    settled(answer)


def test_retry_after_is_honoured(answer, context, endpoint):
    """What the server asks for is waited for, also by the next page and when the network comes back."""
    answer.clock.install()
    endpoint.answers.append(Answer(429, headers={"Retry-After": "90"}))
    press(answer, "Good answer")
    sent(endpoint, 1)
    answer.wait_for_function("Object.values(localStorage).some((text) => JSON.parse(text).isAsked)")
    answer.clock.fast_forward(80_000)
    answer.reload()
    context.set_offline(True)
    context.set_offline(False)
    answer.wait_for_function("globalThis.feedback")
    sent(endpoint, 1)
    answer.clock.fast_forward(11_000)
    sent(endpoint, 2)
    settled(answer)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_is_refused_is_dropped_and_told(answer, endpoint, status):
    """A refusal is final: the button lets go, the page is told why, nothing is tried again."""
    problem = {"title": "Token expired", "status": status}
    endpoint.answers.append(Answer(status, problem))
    press(answer, "Good answer")
    answer.wait_for_function("told.length === 2")
    how, detail = answer.evaluate("told[1]")
    assert (how, detail["status"], detail["answer"]) == ("refused", status, problem)
    assert pressed(answer) == []
    answer.reload()
    answer.wait_for_function("globalThis.feedback")
    assert answer.evaluate("Object.keys(localStorage)") == []
    sent(endpoint, 1)


def test_what_waits_for_too_long_expires(answer, context, endpoint):
    """After a week a signal is given up, and the page is told."""
    answer.clock.install()
    context.set_offline(True)
    press(answer, "Good answer")
    answer.clock.fast_forward(7 * 86_400_000 + 1_000)
    context.set_offline(False)
    answer.wait_for_function("told.some(([how]) => how === 'expired')")
    assert endpoint.requests == []


def test_two_tabs_send_a_signal_once(answer, context, endpoint):
    """Tabs share what waits, and one of them sends it."""
    other = context.new_page()
    other.goto(endpoint.url)
    context.set_offline(True)
    press(answer, "Good answer")
    press(answer, "3 of 5 stars")
    context.set_offline(False)
    settled(answer)
    settled(other)
    sent(endpoint, 2)


@pytest.mark.parametrize("how", ["forbidden", "full", "not wanted", "damaged"])
def test_without_storage_signals_are_kept_in_memory(context, endpoint, how):
    """Where localStorage cannot be used, or the app does not want it, everything works until the page is left."""
    page = context.new_page()
    spoil = {
        "forbidden": "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no') } })",
        "full": "localStorage.big = 'x'.repeat(5_242_877)",
        "damaged": "localStorage['spanback:q:1'] = '{'; localStorage['spanback:v:EjRWeJCrze8:user_thumbs'] = '[['",
        "not wanted": "",
    }
    page.add_init_script(spoil[how])
    page.goto(endpoint.url)
    page.wait_for_function("globalThis.feedback")
    if how == "not wanted":
        page.evaluate("feedback.configure({ storage: false })")
    for label in ("Good answer", "Bad answer", "Bad answer"):
        press(page, label)
    eventually(lambda: endpoint.requests and endpoint.requests[-1].method == "DELETE")
    assert len(set(endpoint.ids)) == 1
    kept = {"not wanted": [], "full": ["big"]}
    if how in kept:
        assert page.evaluate("Object.keys(localStorage)") == kept[how]


def test_what_is_kept_is_bounded(answer, context, endpoint):
    """Of 300 signals given offline the newest 200 are kept, and as many choices."""
    context.set_offline(True)
    answer.evaluate(
        "for (let number = 0; number < 300; number++) feedback.rate(`a.b.${number}`, { score: 1, name: 'n' })"
    )
    assert answer.evaluate("Object.keys(localStorage).length") == 400
    assert answer.evaluate("told.filter(([how]) => how === 'expired').length") == 100


def test_implicit_signals_are_given_once(answer, context, endpoint):
    """Copied, selected, regenerated and read: each once for an answer, also after a reload."""
    for _ in range(2):
        answer.clock.install()
        answer.evaluate("(token) => { globalThis.watch = feedback.observe(answer, token) }", TOKEN)
        for _ in range(2):
            answer.evaluate("getSelection().selectAllChildren(answer)")
            answer.wait_for_timeout(50)
            answer.clock.fast_forward(800)
            answer.keyboard.press("Control+c")
            press(answer, "Again")
            press(answer, "Other")
            answer.evaluate("watch.signal('saved')")
            answer.wait_for_timeout(50)
            answer.clock.fast_forward(10_100)
        sent(endpoint, 5)
        settled(answer)
        answer.reload()
        answer.wait_for_function("globalThis.feedback")
    assert {body["name"]: (body["score"], body["weight"], body["type"]) for body in endpoint.bodies} == {
        "selected": (0.5, 0.3, "implicit"),
        "copied": (1, 0.4, "implicit"),
        "regenerated": (-1, 0.5, "implicit"),
        "saved": (1, 0.5, "implicit"),
        "read": (0.5, 0.3, "implicit"),
    }


def test_a_watch_that_is_stopped_gives_nothing(answer, endpoint):
    """After `stop` neither a copy nor time counts."""
    answer.clock.install()
    answer.evaluate("(token) => feedback.observe(answer, token).stop()", TOKEN)
    answer.evaluate("getSelection().selectAllChildren(answer)")
    answer.keyboard.press("Control+c")
    press(answer, "Again")
    answer.clock.fast_forward(30_000)
    press(answer, "Good answer")
    assert sent(endpoint, 1)[0].items() >= UP.items()


def test_only_the_time_in_sight_counts_as_reading(answer, endpoint):
    """An answer that is scrolled away is not being read."""
    answer.clock.install()
    answer.evaluate("document.querySelector('main').style.paddingBottom = '300vh'")
    answer.evaluate("(token) => feedback.observe(answer, token)", TOKEN)
    answer.wait_for_timeout(50)
    answer.clock.fast_forward(6_000)
    answer.evaluate("scrollTo(0, 2 * innerHeight)")
    answer.wait_for_timeout(50)
    answer.clock.fast_forward(60_000)
    assert endpoint.requests == []
    answer.evaluate("scrollTo(0, 0)")
    answer.wait_for_timeout(50)
    answer.clock.fast_forward(4_100)
    assert sent(endpoint, 1)[0]["name"] == "read"


def test_everything_works_with_the_keyboard(answer, endpoint):
    """Tab reaches each button, which shows that it has the focus; Enter and Space press it."""
    answer.get_by_role("button", name="Other").focus()
    answer.keyboard.press("Tab")
    focused = "document.activeElement.shadowRoot?.activeElement"
    assert answer.evaluate(f"{focused}.ariaLabel") == "Good answer"
    assert answer.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    answer.keyboard.press("Space")
    sent(endpoint, 1)
    answer.keyboard.press("Tab")
    answer.keyboard.press("Enter")
    sent(endpoint, 2)
    for _ in range(5):
        answer.keyboard.press("Tab")
    answer.keyboard.press("Enter")
    assert sent(endpoint, 3) == [UP, DOWN, stars_of(5)]


def test_labels_and_the_endpoint_are_attributes(answer, endpoint):
    """Every text that people hear can be put into their language, and a component can have an endpoint of its own."""
    answer.evaluate(
        """(token) => {
          const labels = { 'aria-label': 'Antwort bewerten', 'up-label': 'Gut', 'down-label': 'Schlecht' };
          feedback.thumbs(answer, token, { ...labels, name: 'hilfreich', url: '/feedback' });
          const more = document.createElement('p');
          document.body.append(more);
          feedback.stars(more, '', { 'star-label': '{n} von 5 Sternen' });
        }""",
        TOKEN,
    )
    assert answer.get_by_role("group", name="Antwort bewerten").count() == 1
    press(answer, "Schlecht")
    assert sent(endpoint, 1) == [{**DOWN, "name": "hilfreich"}]
    star = answer.get_by_role("button", name="2 von 5 Sternen")
    assert star.is_disabled()
    answer.evaluate("(token) => document.body.lastChild.firstChild.setAttribute('token', token)", TOKEN)
    star.click()
    assert sent(endpoint, 2)[1] == stars_of(2)


def test_variables_of_css_style_the_buttons(answer):
    """Size, colours and radius, from outside of the component; a button looks pressed while it is, and no longer."""
    answer.emulate_media(reduced_motion="reduce")
    answer.reload()
    answer.wait_for_function("globalThis.feedback")
    answer.add_style_tag(
        content="feedback-thumbs { --spanback-size: 50px; --spanback-color: rgb(1, 2, 3); --spanback-radius: 9px;"
        " --spanback-accent: rgb(4, 5, 6); --spanback-focus: rgb(7, 8, 9); }"
    )
    up, down = (answer.get_by_role("button", name=f"{kind} answer", exact=True) for kind in ("Good", "Bad"))

    def style(button, *names: str) -> list[str]:
        return button.evaluate("(button, names) => names.map((name) => getComputedStyle(button)[name])", names)

    assert style(up, "width", "height", "color", "borderRadius") == ["50px", "50px", "rgb(1, 2, 3)", "9px"]
    for button, colors in ((up, (4, 1)), (up, (1, 1)), (down, (1, 4)), (up, (4, 1))):
        button.press("Enter")
        shown = [f"rgb({first}, {first + 1}, {first + 2})" for first in colors]
        assert style(up, "color") + style(down, "color") == shown
    assert style(up, "outlineColor") == ["rgb(7, 8, 9)"]


def test_nothing_is_kept_but_what_the_user_gave(answer, context, endpoint):
    """No cookie; in localStorage only signals, and of the token no more than its last part once they are sent."""
    press(answer, "Good answer")
    settled(answer)
    assert context.cookies() == []
    stored = answer.evaluate("({ ...localStorage })")
    assert list(stored) == ["spanback:v:EjRWeJCrze8:user_thumbs"]
    assert TOKEN not in str(stored)


def test_a_new_token_for_the_same_answer_goes_on_with_its_choice(answer, endpoint):
    """Where an app issues another token for the same span, the choice is still shown, and replaced."""
    press(answer, "Good answer")
    settled(answer)
    later = token_of({"t": "EjRWeJCrze8", "m": "gpt-4.1", "iat": 1})
    endpoint.page = PAGE % {"token": later}
    answer.reload()
    answer.wait_for_function("globalThis.feedback")
    assert pressed(answer) == ["Good answer"]
    press(answer, "Bad answer")
    assert sent(endpoint, 2) == [UP, DOWN]
    assert len(set(endpoint.ids)) == 1
    assert [request.body["token"] for request in endpoint.requests] == [TOKEN, later]


def test_motion_is_reduced_for_those_who_ask(answer):
    """Buttons move only for people who have nothing against it."""
    button = answer.locator("feedback-thumbs button").first
    durations = []
    for choice in ("no-preference", "reduce"):
        answer.emulate_media(reduced_motion=choice)
        durations.append(button.evaluate("(element) => getComputedStyle(element).transitionDuration"))
    assert durations == ["0.15s", "0s"]
