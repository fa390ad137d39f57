"""Uses and rates that several processes count together, in a real Redis."""

from __future__ import annotations

import redis

from spanback.web import RedisUses
from tests.index.conftest import redis_server, redis_servers
from tests.web.clients import KINDS, Api
from tests.web.conftest import REF

__all__ = ["redis_server", "redis_servers"]  # fixtures


def test_uses_are_counted_together_and_forgotten_with_the_token(redis_server, telemetry):
    """Two processes take no more of one token than one does."""
    with redis.Redis.from_url(redis_server.url) as client:
        uses = RedisUses(client)
        token = REF.token(max_uses=3, expires_in_s=60)
        apis = [Api(kind, uses=uses) for kind in KINDS]
        assert [apis[n % 2].post({"score": 1}, token).status_code for n in range(4)] == [202, 202, 202, 403]
        (key,) = client.keys()
        assert key.startswith(b"spanback:uses:")
        assert 0 < client.ttl(key) <= 66


def test_rates_are_counted_together(redis_server, telemetry):
    """By the store that `limits` has for it; requests are let through while it is away."""
    apis = [Api(kind, rate_per_token="3/minute", rate_store=redis_server.url) for kind in KINDS]
    token = REF.token()  # one for all: of another second it is another token, with a count of its own
    assert [apis[n % 2].post({"score": 1}, token).status_code for n in range(4)] == [202, 202, 202, 429]
    redis_server.stop()
    assert {api.post({"score": 1}, token).status_code for api in apis} == {202}
