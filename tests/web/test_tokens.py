"""What a token says, what it is good for, and what is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from dataclasses import fields, replace
from io import StringIO

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanback import InvalidFeedback, InvalidSetting, MissingTokenKey, SpanRef, _tokens, cli, record_feedback, reference
from spanback._token_keys import KEY_RULE, decoded, new_key, public_key, read_keys
from spanback._tokens import Claims
from spanback.errors import TokenError, TokenExpired, TokenForeign, TokenInvalid, TokenNotYetValid
from tests.web.conftest import ED25519_KEY, KEY, OTHER_KEY, REF

SECRET = decoded(KEY.partition(":")[2].encode())
NOW = int(time.time())


def encoded(value: object) -> str:
    """Base64url of JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


NAMED = encoded(bytes(15) + b"\1" + bytes(7) + b"\2" + bytes(17))
GOOD = {"t": NAMED, "iat": NOW, "exp": NOW + 7_200, "aud": "spanback"}


def verified(token: object, *keys: str, audience: str | None = "spanback") -> Claims:
    """What a token says to a process with these keys."""
    return _tokens.verify(token, keys=read_keys(keys or (KEY,)), audience=audience)


def signed(claims: object, key: str = KEY) -> str:
    """A token of a good key with any payload."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return read_keys((key,)).newest().sign(payload)


texts = st.none() | st.text(min_size=1, max_size=40)
refs = st.builds(
    SpanRef,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.none() | st.integers(1, 2**63),
    *[texts] * 7,
    st.lists(st.text(max_size=9), max_size=3).map(tuple),
    *[texts] * 2,
    st.none() | st.integers(1, 2**64 - 1),
)


def carried(value: object) -> object:
    """What becomes of a value in UTF-8."""
    if isinstance(value, tuple):
        return tuple(map(carried, value))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@given(refs)
def test_a_reference_survives_the_way_through_a_token(ref):
    """Whatever a reference holds comes back as it was, but for lone surrogates, which no UTF-8 can carry."""
    claims = verified(ref.token(keys=[KEY]))
    expected = SpanRef(*(carried(getattr(ref, field.name)) for field in fields(ref)))
    assert SpanRef.from_claims(claims.rated) == expected


@pytest.mark.parametrize("key", [KEY, ED25519_KEY], ids=["HS256", "EdDSA"])
def test_a_token_is_a_jwt_of_at_most_600_bytes(key, clock):
    """PyJWT reads it; no raw user id is in it."""
    token = REF.token(keys=[key], user_id="anna@example.com", signals=["user_thumbs", "stars"], max_uses=5)
    assert len(token) <= 600
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "HS256" if key == KEY else "EdDSA", "kid": read_keys((key,)).newest().key_id}
    verifying = (
        SECRET if key == KEY else jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": public_key(key).partition(":")[2]})
    )
    claims = jwt.decode(
        token,
        verifying,
        algorithms=[header["alg"]],
        audience="spanback",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert {name: claims[name] for name in ("iat", "exp", "aud", "r", "p", "q", "m", "n", "v", "c", "s", "k")} == {
        "iat": 1_760_000_000,
        "exp": 1_760_086_400,
        "aud": "spanback",
        "r": REF.response_id,
        "p": "openai",
        "q": "gpt-4o-mini",
        "m": "gpt-4o-mini-2024-07-18",
        "n": "museum-guide",
        "v": "12",
        "c": "conv_0123456789abcdef",
        "s": ["user_thumbs", "stars"],
        "k": 5,
    }
    assert "anna" not in json.dumps(claims)


@pytest.fixture
def clock(monkeypatch):
    """The time stands still."""
    monkeypatch.setattr("time.time", lambda: 1_760_000_000.0)


def test_what_was_asked_for_is_what_is_verified(clock):
    """User, signals, uses and time come back; the user only for who says the right one."""
    token = REF.token(keys=[KEY], user_id="anna", signals=["stars"], max_uses=2, expires_in_s=60, audience="shop")
    claims = verified(token, audience="shop")
    assert (claims.issued_at, claims.expires_at, claims.max_uses) == (1_760_000_000, 1_760_000_060, 2)
    assert claims.signals == {"stars"}
    assert [claims.is_for(user) for user in ("anna", "bob", None)] == [True, False, False]
    assert verified(REF.token(keys=[KEY])).is_for(None)


def test_two_tokens_with_counted_uses_are_two():
    """Each has uses of its own, while tokens without a limit are told apart by what they say."""
    first, second = (verified(REF.token(keys=[KEY], max_uses=1)) for _ in range(2))
    assert first.token_id != second.token_id
    assert verified(REF.token(keys=[KEY], expires_in_s=5)).token_id != verified(REF.token(keys=[KEY])).token_id


def test_the_newest_key_signs_and_all_verify():
    """A key may be replaced while tokens of the old one are still good."""
    old, new = REF.token(keys=[KEY]), REF.token(keys=[KEY, OTHER_KEY])
    assert verified(old, KEY, OTHER_KEY).key.key_id == read_keys((KEY,)).newest().key_id
    assert verified(new, KEY, OTHER_KEY).key.key_id == read_keys((OTHER_KEY,)).newest().key_id
    with pytest.raises(TokenInvalid):
        verified(new, KEY)


def test_a_public_key_verifies_and_does_not_sign():
    """A process that must not make tokens can still check them; it knows bound users, too."""
    public = public_key(ED25519_KEY)
    token = REF.token(keys=[ED25519_KEY], user_id="anna")
    assert verified(token, public).is_for("anna")
    assert not verified(token, public).is_for("bob")
    with pytest.raises(MissingTokenKey, match="they only verify: `spanback keys new`"):
        REF.token(keys=[public])


def test_a_token_that_would_be_too_long_to_send_says_less():
    """Which span it is is always in it; names without end are not."""
    long = SpanRef(1, 2, conversation_id="ü" * 5_000, response_id="r")
    token = long.token(keys=[KEY])
    assert len(token) < 300
    assert SpanRef.from_claims(verified(token).rated) == SpanRef(1, 2)


header_of = read_keys((KEY,)).newest().header.decode()
public_of_ed = decoded(public_key(ED25519_KEY).partition(":")[2].encode())


def forged(header: object, claims: object, key: bytes = SECRET) -> str:
    """A token with any header, signed with HMAC-SHA256."""
    body = f"{encoded(header)}.{encoded(claims)}"
    return f"{body}.{encoded(hmac.digest(key, body.encode(), hashlib.sha256))}"


TOKEN = REF.token(keys=[KEY])
KID = read_keys((KEY,)).newest().key_id
ED_KID = read_keys((ED25519_KEY,)).newest().key_id
REFUSED = {
    "nothing": ("", TokenInvalid),
    "no text": (None, TokenInvalid),
    "bytes": (TOKEN.encode(), TokenInvalid),
    "no ASCII": (TOKEN + "é", TokenInvalid),
    "words": ("not.a.token", TokenInvalid),
    "oversized": (TOKEN + "A" * 4_096, TokenInvalid),
    "without signature": (TOKEN.rpartition(".")[0], TokenInvalid),
    "empty signature": (TOKEN.rpartition(".")[0] + ".", TokenInvalid),
    "other signature": (TOKEN[:-4] + "AAAA", TokenInvalid),
    "another spelling of the signature": (TOKEN[:-1] + chr(ord(TOKEN[-1]) + 1), TokenInvalid),
    "no base64": (TOKEN[:-1] + "!", TokenInvalid),
    "changed claims": (f"{header_of}.{encoded({**GOOD, 'exp': NOW + 9_999})}.{TOKEN.rpartition('.')[2]}", TokenInvalid),
    "alg none": (f"{encoded({'alg': 'none', 'kid': KID})}.{encoded(GOOD)}.", TokenInvalid),
    "alg none, signed": (forged({"alg": "none", "kid": KID}, GOOD), TokenInvalid),
    "another algorithm": (forged({"alg": "HS512", "kid": KID}, GOOD), TokenInvalid),
    "the public key as a secret": (forged({"alg": "HS256", "kid": ED_KID}, GOOD, public_of_ed), TokenInvalid),
    "unknown key": (REF.token(keys=[OTHER_KEY]), TokenInvalid),
    "a path for a key": (forged({"alg": "HS256", "kid": "../../dev/null"}, GOOD, b""), TokenInvalid),
    "no JSON": (signed(b"{"), TokenInvalid),
    "no UTF-8": (signed(b"\xff"), TokenInvalid),
    "a bomb": (signed(b"[" * 2_500), TokenInvalid),
    "no object": (signed(["t"]), TokenInvalid),
    "no times": (signed({"t": NAMED}), TokenInvalid),
    "times of text": (signed({**GOOD, "exp": str(NOW + 60)}), TokenInvalid),
    "not before, of text": (signed({**GOOD, "nbf": "now"}), TokenInvalid),
    "uses of text": (signed({**GOOD, "k": "many"}), TokenInvalid),
    "signals of text": (signed({**GOOD, "s": "stars"}), TokenInvalid),
    "user of numbers": (signed({**GOOD, "u": 1}), TokenInvalid),
    "expired": (signed({**GOOD, "iat": NOW - 99, "exp": NOW - 6}), TokenExpired),
    "issued in the future": (signed({**GOOD, "iat": NOW + 3_600, "exp": NOW + 7_200}), TokenNotYetValid),
    "not before": (signed({**GOOD, "nbf": NOW + 3_600}), TokenNotYetValid),
    "another audience": (REF.token(keys=[KEY], audience="shop"), TokenForeign),
    "no audience": (signed({name: value for name, value in GOOD.items() if name != "aud"}), TokenForeign),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_token_is_refused(case):
    """What was not signed by one of the keys, or not for now and here, says nothing."""
    token, error = REFUSED[case]
    with pytest.raises(error) as raised:
        verified(token, KEY, ED25519_KEY)
    assert type(raised.value) is error
    assert str(token or "?")[:8] not in str(raised.value)


def test_the_good_token_that_the_bad_ones_are_made_of_is_good():
    """What is refused above is refused for its one fault."""
    assert verified(signed(GOOD)).expires_at == NOW + 7_200
    assert verified(TOKEN[:-1] + TOKEN[-1], KEY, ED25519_KEY).key.key_id == KID


@pytest.mark.parametrize(
    "rated",
    [{}, {"t": 1}, {"t": "AA"}, {"t": "!"}, {"t": NAMED, "r": 1}, {"t": NAMED, "g": "a"}, {"t": NAMED, "g": [1]}],
)
def test_a_token_that_names_no_span_is_refused(rated):
    """Whoever has the key may have signed anything."""
    with pytest.raises(TokenInvalid, match="names no span"):
        SpanRef.from_claims(rated)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"expires_in_s": 0}, "expires_in_s=0 must be a whole number of seconds, from 1 to 31,622,400 (366 days)"),
        ({"expires_in_s": True}, "expires_in_s=True must be"),
        ({"expires_in_s": 1e9}, "expires_in_s=1000000000.0 must be"),
        ({"max_uses": 0}, "max_uses=0 must be a whole number from 1 to 1,000,000"),
        ({"user_id": ""}, "user_id='' must be text, not empty, of at most 256 characters"),
        ({"user_id": 7}, "user_id=<int> must be"),
        ({"signals": "stars"}, "signals='stars' must be a list of at most 16 names of signals"),
        ({"signals": ["stars"] * 17}, "signals=<list> must be"),
        ({"signals": [7]}, "signals=<list> must be"),
        ({"signals": ["\U0001f44d" * 64] * 16}, "signals=<list> must be"),
        ({"audience": ""}, "audience='' must be text, not empty, of at most 256 characters"),
        ({"audience": b"web"}, "audience=b'web' must be"),
        ({"audience": "a" * 5_000}, "audience='aaa"),
    ],
)
def test_terms_that_break_their_rule_are_named(terms, message):
    """The message says which, what was given and the rule."""
    with pytest.raises(InvalidSetting) as raised:
        REF.token(keys=[KEY], **terms)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "odd", "message"),
    [
        ("trace_id", 1 << 128, f"trace_id={1 << 128} must be a whole number from 1 to 2 ** 128 - 1"),
        ("trace_id", 0, "trace_id=0 must be"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c", "trace_id='0af7651916cd43dd8448eb211c80319c' must be"),
        ("span_id", -1, "span_id=-1 must be a whole number from 1 to 2 ** 64 - 1"),
        ("span_id", True, "span_id=True must be"),
        ("span_id", None, "span_id=None must be"),
        ("start_time_ns", -1, "start_time_ns=-1 must be a whole number from 0 to 2 ** 64 - 1, or None"),
        ("start_time_ns", 1.7e18, "start_time_ns=1.7e+18 must be"),
        ("root_span_id", 1 << 64, f"root_span_id={1 << 64} must be a whole number from 0 to 2 ** 64 - 1, or None"),
        ("sampled", "no", "sampled='no' must be True or False"),
        ("response_id", b"resp_1", "response_id=b'resp_1' must be text, or None"),
        ("prompt_version", 12, "prompt_version=12 must be"),
        ("tags", "beta", "tags='beta' must be a tuple of texts"),
        ("tags", ("beta", 7), "tags=<tuple> must be"),
    ],
)
def test_a_reference_that_no_token_can_carry_is_refused(field, odd, message):
    """One that is made by hand may hold anything; the message says which field, what it holds and the rule."""
    with pytest.raises(InvalidSetting) as raised:
        replace(REF, **{field: odd}).token(keys=[KEY])
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("odd", [KEY.encode(), [KEY], None, 7])
def test_a_key_that_is_no_text_is_named_by_its_number(odd):
    """It is not shown."""
    with pytest.raises(InvalidSetting) as raised:
        REF.token(keys=[KEY, odd])
    assert str(raised.value).startswith("keys='<key 2 of 2>' must be 'hs256:' with")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "hs256:",
        "hs256:c2hvcnQ",
        "ed25519:c2hvcnQ",
        "rsa:" + "A" * 43,
        "hs256:" + "é" * 43,
        "hs256:" + "!" * 43,
    ],
)
def test_what_is_no_key_is_said_without_showing_it(text):
    """Which of the keys it is is said by its number."""
    with pytest.raises(InvalidSetting) as raised:
        read_keys((KEY, text))
    assert str(raised.value) == f"SPANBACK_TOKEN_KEYS='<key 2 of 2>' {KEY_RULE}"


def test_without_a_key_the_error_says_what_to_do(configure):
    """No key, no token."""
    configure(token_keys=())
    with pytest.raises(
        MissingTokenKey, match=r"put what `spanback keys new` prints into SPANBACK_TOKEN_KEYS, or pass keys="
    ):
        REF.token()


def test_without_cryptography_ed25519_is_refused(monkeypatch):
    """The message says what to install."""
    monkeypatch.setattr("spanback._token_keys.find_spec", lambda name: None)
    with pytest.raises(InvalidSetting, match=r"pip install 'spanback\[eddsa\]'"):
        new_key(eddsa=True)


def test_keys_show_nothing_of_themselves(configure):
    """Not in reprs of keys, of settings, nor of what was verified."""
    settings = configure(token_keys=(KEY, ED25519_KEY))
    shown = [repr(settings), repr(read_keys((KEY, ED25519_KEY))), repr(verified(TOKEN))]
    assert not any(text.partition(":")[2][:8] in one for text in (KEY, ED25519_KEY) for one in shown)
    assert read_keys((KEY,)).newest().key_id in shown[1]


def test_errors_survive_a_process():
    """They are pickled by their message."""
    for kind in (TokenError, TokenExpired, MissingTokenKey):
        assert str(pickle.loads(pickle.dumps(kind("why")))) == "why"


class TestRecordFeedback:
    """A token as target of `record_feedback`."""

    def test_a_token_is_the_span_it_was_made_for(self, telemetry):
        """Feedback lands on the span, with its dimensions."""
        assert reference(REF.token()) == REF
        receipt = record_feedback(REF.token(), score=1.0)
        assert (receipt.status, receipt.target) == ("recorded", REF)
        (row,) = telemetry.feedback
        assert (row.trace_id, row.span_id, row.response_id) == (REF.trace_id, REF.span_id, REF.response_id)
        assert row.attributes["feedback.target.scope"] == "response"

    @pytest.mark.parametrize("case", ["other signature", "expired", "unknown key", "alg none"])
    def test_a_bad_token_is_refused_and_not_shown(self, case, telemetry):
        """Nothing is emitted, and the message does not hold the token."""
        token = REFUSED[case][0]
        with pytest.raises(InvalidFeedback) as raised:
            record_feedback(token, score=1.0)
        assert raised.value.value == "<feedback token>"
        assert str(raised.value).startswith(
            "target='<feedback token>' must be a feedback token that can be verified: the token "
        )
        assert telemetry.feedback == ()
        assert reference(token) is None

    def test_without_a_key_the_message_says_what_to_do(self, telemetry, configure):
        """As when one is made."""
        configure(token_keys=())
        with pytest.raises(InvalidFeedback, match="spanback keys new"):
            record_feedback(TOKEN, score=1.0)


class TestCommand:
    """`spanback keys`."""

    @pytest.mark.parametrize("more", [[], ["--eddsa"]])
    def test_a_new_key_signs(self, more, capsys):
        """Each is another one."""
        keys = []
        for _ in range(2):
            assert cli.main(["keys", "new", *more]) == 0
            keys.append(capsys.readouterr().out.strip())
        assert keys[0] != keys[1]
        assert SpanRef.from_claims(verified(REF.token(keys=keys), *keys).rated) == REF

    def test_the_public_key_of_a_pair_is_printed(self, capsys, monkeypatch):
        """The private one comes on standard input, where no process list shows it."""
        monkeypatch.setattr("sys.stdin", StringIO(ED25519_KEY + "\n"))
        assert cli.main(["keys", "public"]) == 0
        assert capsys.readouterr().out == f"{public_key(ED25519_KEY)}\n"

    def test_an_hmac_key_has_no_public_half(self, capsys, monkeypatch):
        """The message does not show the key."""
        monkeypatch.setattr("sys.stdin", StringIO(KEY))
        assert cli.main(["keys", "public"]) == 2
        assert capsys.readouterr().err == "key='<hs256 key>' must be an ed25519 key: only these have a public half\n"


def test_importing_spanback_does_not_import_pyjwt():
    """Its import takes longer than all of ours, and an app without tokens does not need it."""
    script = "import sys, spanback; print({'jwt', 'cryptography'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
