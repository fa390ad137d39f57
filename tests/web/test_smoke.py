"""The endpoint takes a signal."""

import httpx

from spanback.web.asgi import FeedbackApp
from tests.web.conftest import REF


async def test_a_signal_is_recorded_on_the_span_of_the_token(telemetry):
    """And withdrawn by its id."""
    transport = httpx.ASGITransport(FeedbackApp())
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        done = await client.post(
            "/", json={"score": 1, "name": "user_thumbs", "feedback_id": "a", "token": REF.token()}
        )
        assert (done.status_code, done.json()["status"]) == (202, "recorded")
        gone = await client.delete("/a", headers={"authorization": f"Bearer {REF.token()}"})
        assert gone.json() == done.json()
    assert [(row.score, row.span_id) for row in telemetry.feedback] == [(1.0, REF.span_id), (None, REF.span_id)]
