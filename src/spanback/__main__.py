"""`python -m spanback` is the command `spanback`."""

import sys

from spanback_command import main

sys.exit(main())
