"""`python -m license_telemetry` is the command `license-telemetry`."""

import sys

from .cli import main

sys.exit(main())
