"""gRPC is told of gevent where that stands for the threads of the process, and nowhere else."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from spanback.export._greenlets import let_others_run


@pytest.mark.parametrize(
    ("patched", "main_hub", "is_told"),
    [
        ({"socket", "threading"}, True, True),
        ({"socket", "threading"}, False, False),
        ({"socket"}, True, False),
        ({"threading"}, True, False),
        (None, True, False),
    ],
    ids=["all", "another thread", "sockets alone", "threads alone", "no gevent"],
)
def test_grpc_is_told_of_gevent(
    patched: set[str] | None, main_hub: bool, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only in the thread whose greenlets a call would hold up."""
    told: list[str] = []
    made = {
        "gevent": SimpleNamespace(get_hub=lambda: SimpleNamespace(main_hub=main_hub)),
        "gevent.monkey": patched and SimpleNamespace(is_module_patched=patched.__contains__),
        "grpc.experimental.gevent": SimpleNamespace(init_gevent=lambda: told.append("told")),
    }
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    let_others_run()
    assert told == (["told"] if is_told else [])
