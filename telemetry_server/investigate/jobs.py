"""The job of the wing."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from telemetry_server.investigate import finding, store
from telemetry_server.investigate.rule_files import all_rules
from telemetry_server.investigate.rules import Asked, Cadence, Network
from telemetry_server.investigate.score import Scale, shipped_ratios
from telemetry_server.job_names import JobName
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.registry.products import all_products
from telemetry_server.store.watermarks import reach, reached

FULL = "find suspicions in full"
"""The watermark of the last run over all subjects."""
DAY = timedelta(hours=23)
ALWAYS_FULL = 50_000
"""A fleet of at most n installations is always looked at in full."""
_LATE = timedelta(minutes=5)
"""The roll-ups and the writer may be behind by that."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def find_suspicions(own_rules: Path | None, allowed: Sequence[Network], base_rate: float) -> Run:
    """Runs the rules over all products, and sorts what they find into cases.

    Once a day over all subjects, and over those with news in between.
    """

    async def run(connection: Connection, now: datetime) -> str:
        rules, scale = all_rules(own_rules), Scale(shipped_ratios(), base_rate)
        since = await reached(connection, JobName.FIND_SUSPICIONS) or _BEGINNING
        last_full = await reached(connection, FULL)
        is_daily = last_full is None or not timedelta(0) <= now - last_full < DAY
        counts: Counter[str] = Counter(opened=0, updated=0, closed=0, failed=0, cases=0)
        await store.forget_erased(connection)
        await store.close_rules(connection, (rule.name for rule in rules), now)
        for product in await all_products(connection):
            is_full = is_daily or await store.fleet_size(connection, product.id) <= ALWAYS_FULL
            asked = Asked(
                product_id=product.id,
                now=now,
                since=_BEGINNING if is_full else since - _LATE,
                allowed=allowed,
            )
            due = [rule for rule in rules if is_full or rule.cadence is Cadence.HOUR]
            counts.update(await finding.find(connection, due, asked, is_full=is_full))
            counts["cases"] += await finding.sort_into_cases(connection, asked, scale)
        await reach(connection, JobName.FIND_SUSPICIONS, now)
        if is_daily:
            await reach(connection, FULL, now)
        failed = f"; {counts['failed']} rules failed" if counts["failed"] else ""
        return (
            f"opened {counts['opened']}, updated {counts['updated']} and closed {counts['closed']} findings,"
            f" and opened {counts['cases']} cases{failed}"
        )

    return run
