"""`python -m spanback` is the command `spanback`."""

import sys

from spanback.cli import main

sys.exit(main())
