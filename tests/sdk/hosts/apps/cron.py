"""What cron runs: one use of one feature, and out."""

import sys

from counting import use

use(int(sys.argv[1]))
