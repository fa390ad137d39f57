"""The chat of `spanback demo --web`, with a model of your own: anything that speaks OpenAI's format.

OPENAI_BASE_URL=https://api.openai.com/v1 OPENAI_API_KEY=... python examples/chat/app.py gpt-4o-mini
"""

import os
import sys
from pathlib import Path

from spanback.demo.chat import Model, serve

folder = Path("telemetry")
folder.mkdir(exist_ok=True)
model = Model(os.environ["OPENAI_BASE_URL"], sys.argv[1], os.environ["OPENAI_API_KEY"])
serve(
    model,
    folder,
    port=int(os.environ.get("PORT", "8321")),
    on_ready=lambda url: print(f"The chat is at {url}", flush=True),
)
