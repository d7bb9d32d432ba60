"""The time in which a request of a data subject has to be answered. Pure."""

from calendar import monthrange
from datetime import date

MONTHS, MONTHS_EXTENDED = 1, 3
SOON_DAYS = 7
"""From when on an unanswered request counts as due soon."""


def due_on(received_on: date, *, extended: bool = False) -> date:
    """The last day: the same day of a later month, or the last day of that month (Article 12(3) GDPR)."""
    index = received_on.year * 12 + received_on.month - 1 + (MONTHS_EXTENDED if extended else MONTHS)
    year, month = index // 12, index % 12 + 1
    return date(year, month, min(received_on.day, monthrange(year, month)[1]))
