"""How rated calls look: exact trees on a console of fixed width."""

from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from rich.console import Console

from spanback.cli import _tree
from spanback.reading import Call, Feedback, ModelSummary, RatedCall

CALL = Call(
    trace_id="0af7651916cd43dd8448eb211c80319c",
    span_id="b7ad6b7169203331",
    parent_span_id=None,
    name="chat gpt-5",
    operation="chat",
    start_time_ns=1_763_712_000_000_000_000,
    duration_ns=512_000_000,
    request_model="gpt-5",
)
SIGNAL = Feedback("fb-1", 2_000, name="stars", score=1.0)


def _drawn(call: Call | None, *signals: Feedback, width: int = 100) -> list[str]:
    out = StringIO()
    _tree.draw(Console(file=out, width=width, highlight=False), RatedCall(call, signals or (SIGNAL,)))
    return out.getvalue().splitlines()


def test_a_call_with_everything_is_drawn_whole() -> None:
    """Question, answer, every signal and all that a signal says stand beneath the call."""
    call = replace(
        CALL,
        response_model="gpt-5-mini",
        input_tokens=12,
        output_tokens=34,
        service_name="shop-bot",
        error_type="RateLimitError",
        input_messages=[
            {"role": "system", "parts": [{"type": "text", "content": "Be short."}]},
            {"role": "user", "parts": [{"type": "text", "content": "What is\nthe capital?"}, {"type": "blob"}]},
            {"role": "assistant", "parts": []},
        ],
        output_messages=[
            {"role": "assistant", "parts": [{"type": "tool_call", "name": "look_up", "arguments": {"q": "é"}}]}
        ],
    )
    signals = (
        replace(
            SIGNAL,
            score=-1.0,
            weight=0.8,
            label="wrong",
            comment="No.\n\tIt is\r\nCanberra.",
            metadata={"page": "/a", "n": 2},
        ),
        replace(SIGNAL, score=0.5, score_raw=4.0, score_min=1.0, score_max=5.0, source="system", type="implicit"),
        replace(SIGNAL, score=None, improvement={"answer": "Canberra"}, observed_at="2025-11-21T07:59:00Z"),
        replace(SIGNAL, score=0.0, improvement="Canberra"),
    )
    assert _drawn(call, *signals) == [
        "2025-11-21 08:00:00Z  chat gpt-5-mini  512 ms  12 -> 34 tokens  shop-bot  error RateLimitError",
        "├── asked What is the capital?",
        '├── answered look_up({"q": "é"})',
        "├── ▼ stars  -1  wrong  weight 0.8, user, explicit",
        "│   ├── comment No. It is Canberra.",
        "│   └── metadata page=/a, n=2",
        "├── ▲ stars  4 of 5  weight 1, system, implicit",
        "├── ✎ stars  weight 1, user, explicit",
        '│   ├── improvement {"answer": "Canberra"}',
        "│   └── observed at 2025-11-21T07:59:00Z",
        "└── ● stars  0  weight 1, user, explicit",
        "    └── improvement Canberra",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "chat gpt-5  512 ms"),
        ({"request_model": None}, "chat  512 ms"),
        ({"duration_ns": 2_540_000_000}, "chat gpt-5  2.5 s"),
        ({"duration_ns": 999_600_000}, "chat gpt-5  1.0 s"),
        ({"duration_ns": 400_000}, "chat gpt-5  0.4 ms"),
        ({"input_tokens": 7}, "chat gpt-5  512 ms  7 tokens in"),
        ({"output_tokens": 0}, "chat gpt-5  512 ms  0 tokens out"),
    ],
)
def test_a_call_says_what_is_known(change: Any, line: str) -> None:
    """Nothing stands for what is not known."""
    assert _drawn(replace(CALL, **change))[0] == f"2025-11-21 08:00:00Z  {line}"


@pytest.mark.parametrize(
    ("change", "score"),
    [
        ({"score": 0.25}, "▲ stars  +0.25"),
        ({"score_raw": 3.5, "score_max": 10.0}, "▲ stars  3.5 of 10"),
        ({"score_raw": 0.0, "score_min": 0.0, "score_max": 2.0}, "▲ stars  0 of 2"),
        ({"score_raw": 1.0, "score_min": -2.0, "score_max": 2.0}, "▲ stars  1 in -2..2"),
    ],
)
def test_a_score_is_shown_as_it_was_given(change: Any, score: str) -> None:
    """A rating on a scale is told on its scale."""
    assert _drawn(CALL, replace(SIGNAL, **change))[1] == f"└── {score}  weight 1, user, explicit"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"criterion": "tone"}, "criterion tone"),
        ({"choice": 0}, "choice 0"),
        ({"tool_call_id": "call-1"}, "tool call call-1"),
        ({"document_id": "doc-1"}, "document doc-1"),
        (
            {
                "rejected_span_ids": ("4" * 16, "", ""),
                "rejected_response_ids": ("", "r-2", ""),
                "rejected_models": ("gpt-5", "", ""),
            },
            f"better than {'4' * 16} gpt-5, r-2, one that is not known",
        ),
        (
            {
                "rejected_span_ids": ("", ""),
                "rejected_response_ids": ("r-2", "r-3"),
                "rejected_models": ("", ""),
                "rejected_choices": (1, -1),
            },
            "better than choice 1 of r-2, r-3",
        ),
    ],
)
def test_a_signal_says_what_exactly_it_is_about(change: Any, line: str) -> None:
    """A criterion, a part of the response, or the responses that this one is better than."""
    assert _drawn(CALL, replace(SIGNAL, **change))[2] == f"    └── {line}"


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ([{"role": "user", "content": "older form"}], "older form"),
        ([{"role": "user", "content": [{"type": "text", "text": "older part"}]}], "older part"),
        ([{"role": "tool", "parts": ["only a tool"]}], "only a tool"),
        ("plain text", "plain text"),
        ([{"role": "user", "parts": [{"type": "text", "content": "x" * 201}]}], "x" * 200 + "…"),
        ([{"role": "user", "parts": [{"type": "text", "content": "a " + " " * 900 + "b"}]}], "a…"),
        ([], None),
        ([{"role": "user", "parts": None}, "odd"], None),
        ({"odd": 1}, None),
    ],
)
def test_the_question_is_the_last_text_of_the_user(messages: Any, asked: str | None) -> None:
    """Forms of older instrumentations are understood, long texts are cut."""
    lines = _drawn(replace(CALL, input_messages=messages), width=300)
    assert lines[1:-1] == ([f"├── asked {asked}"] if asked else [])


def test_nothing_in_telemetry_moves_the_cursor() -> None:
    """Control characters, escape sequences, markup and turned writing are shown, not obeyed."""
    evil = "\x1b[2J\x07 [red]a[/red] \u202eb\x9b"
    signal = replace(SIGNAL, name=evil, label=evil, comment=evil, improvement=evil, metadata={evil: evil}, source=evil)
    text = "\n".join(_drawn(replace(CALL, operation=evil, input_messages=evil, error_type=evil), signal, width=300))
    assert [character for character in text if not character.isprintable() and character != "\n"] == []
    assert text.count("[red]a[/red]") == 10


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"trace_id": "1" * 32, "span_id": "2" * 16}, f"span {'2' * 16} of trace {'1' * 32}"),
        ({"dimensions": {"gen_ai.response.id": "r-1", "gen_ai.request.model": "gpt-5"}}, "response r-1  gpt-5"),
        ({"dimensions": {"gen_ai.conversation.id": "c-1"}}, "conversation c-1"),
        ({}, "no target"),
    ],
)
def test_feedback_without_its_call_names_its_target(change: Any, line: str) -> None:
    """The ids say where to look for the call."""
    assert _drawn(None, replace(SIGNAL, **change))[0] == line


def test_a_console_without_unicode_gets_plain_signs() -> None:
    """Signs and branches are ASCII where the encoding is."""
    out = BytesIO()
    console = Console(file=TextIOWrapper(out, "ascii", write_through=True), width=60, highlight=False)
    signals = [replace(SIGNAL, score=score) for score in (1.0, 0.0, -1.0, None)]
    _tree.draw(console, RatedCall(None, tuple(signals)))
    assert out.getvalue().decode("ascii").splitlines() == [
        "no target",
        "+-- + stars  +1  weight 1, user, explicit",
        "+-- o stars  0  weight 1, user, explicit",
        "+-- - stars  -1  weight 1, user, explicit",
        "`-- * stars  weight 1, user, explicit",
    ]


def test_the_summary_is_a_table_by_model_and_type() -> None:
    """Means have a sign and two digits, and are blank where there is no score."""
    out = StringIO()
    _tree.draw_summary(
        Console(file=out, width=100),
        [ModelSummary("gpt-5", "explicit", 3, 4, 1, 0.254, -0.0), ModelSummary(None, "implicit", 1, 1, 0, None, None)],
    )
    assert out.getvalue().splitlines() == [
        "",
        "By model",
        "┏━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓",
        "┃ model   ┃ type     ┃ calls rated ┃ signals ┃ negative ┃ mean score ┃ weighted mean ┃",
        "┡━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩",
        "│ gpt-5   │ explicit │           3 │       4 │        1 │      +0.25 │         +0.00 │",
        "│ unknown │ implicit │           1 │       1 │        0 │            │               │",
        "└─────────┴──────────┴─────────────┴─────────┴──────────┴────────────┴───────────────┘",
    ]


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    """Names are folded, and numbers stay whole."""
    out = StringIO()
    row = ModelSummary("gpt-4o-mini-2024-07-18", "explicit", 2, 4, 2, -0.03, -0.04)
    _tree.draw_summary(Console(file=out, width=60), [row])
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]
    assert "".join(line[0] for line in cells) == row.model
    assert cells[0][2:] == ["2", "4", "2", "-0.03", "-0.04"]
