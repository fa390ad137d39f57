"""Reads feedback and model calls back, from wherever they are kept: files, ClickHouse, Tempo or Jaeger.

```python
from spanback import reading

with reading.open("telemetry/") as reader:                       # or jaeger+http://localhost:16686, tempo+http://...
    for rated in reader.rated(negative=True):
        print(rated.call, rated.feedback)
```

Every source gives the same rows.
"""

from spanback.reading._files import TelemetryFiles
from spanback.reading._lines import DamagedLine
from spanback.reading._reader import Progress, Reader
from spanback.reading._rows import Call, Feedback, ModelSummary, RatedCall
from spanback.reading._sources import is_address, open, read  # noqa: A004 - `reading.open` reads as what it does

__all__ = [
    "Call",
    "DamagedLine",
    "Feedback",
    "ModelSummary",
    "Progress",
    "RatedCall",
    "Reader",
    "TelemetryFiles",
    "is_address",
    "open",
    "read",
]
