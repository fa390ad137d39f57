"""Reads feedback and model calls back from telemetry files.

```python
from spanback.reading import TelemetryFiles

with TelemetryFiles(["telemetry/"]) as files:
    for rated in files.rated(negative=True):
        print(rated.call, rated.feedback)
```
"""

from spanback.reading._files import Progress, TelemetryFiles
from spanback.reading._lines import DamagedLine
from spanback.reading._rows import Call, Feedback, ModelSummary, RatedCall

__all__ = ["Call", "DamagedLine", "Feedback", "ModelSummary", "Progress", "RatedCall", "TelemetryFiles"]
