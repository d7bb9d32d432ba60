"""What every host's application shares: the SDK's client, and a record of its calls that the SDK can't touch.

The record is one file for all processes. A call of task.3 appends "3" before and "d" after it: both are written
without a buffer, so that the record is right however the process ends.
"""

import os

from license_telemetry import Telemetry

_calls = os.open(os.environ["HOST_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

telemetry = Telemetry(
    endpoint=os.environ["HOST_ENDPOINT"],
    product_key=os.environ["HOST_PRODUCT_KEY"],
    version="7.2.1",
    state_dir=os.environ["HOST_STATE"],
)
telemetry.license(status="licensed", key="ABCD-EFGH-7Q2K", source="direct")


def use(number):
    """One use of one of ten features."""
    digit = number % 10
    os.write(_calls, b"0123456789"[digit : digit + 1])
    telemetry.feature(f"task.{digit}")
    os.write(_calls, b"abcdefghij"[digit : digit + 1])
