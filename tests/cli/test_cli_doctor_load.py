"""The load of the last day beside what the cores are good for."""

from datetime import UTC, datetime

import pytest

from telemetry_server.cli.doctor.findings import FindingLevel
from telemetry_server.cli.doctor.load import BUSY, SAMPLES, Costs, costs, load, samples

COSTS = Costs("2026-11-30", "a machine", 600, 200, 150, 50, 500, 2_000, 1_500, 70)


PING = """
INSERT INTO pings (received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, state, details)
SELECT $2::timestamptz - $3::text::interval, gen_random_uuid(), $1, gen_random_uuid(), $2, false, '', '{}'
"""


def test_a_millisecond_a_ping_is_five_hundred_a_second_for_each_core():
    assert COSTS.pings_a_second(1) == pytest.approx(500)
    assert COSTS.pings_a_second(8) == pytest.approx(4_000)


@pytest.mark.parametrize(("rate", "cores"), [(0, 1), (1, 1), (500, 1), (501, 2), (4_000, 8)])
def test_cores_for_a_rate_leave_half_of_them_idle(rate, cores):
    assert COSTS.cores(rate) == cores
    assert rate * COSTS.cpu_seconds <= cores * BUSY


def test_disk_holds_installations_and_the_pings_of_the_days():
    assert COSTS.disk(installations=10, rate=1, days=2) == 10 * 2_000 + 2 * 86_400 * 500


def test_what_was_measured_is_above_nothing():
    for name in ("server", "postgresql", "tls", "jobs", "ping", "installation", "wal", "worker_mebibytes"):
        assert getattr(costs(), name) > 0


def test_a_quiet_server_is_well():
    finding = load([0] * 23 + [60], cores=2)
    assert finding.outcome is FindingLevel.OK
    assert finding.detail.startswith("1 pings a second in the busiest of 24 minutes")


def test_a_server_beyond_its_cores_gets_advice():
    finding = load([0, round(60 * costs().pings_a_second(2) * 1.2)], cores=2)
    assert finding.outcome is FindingLevel.WARNING
    assert "120%" in finding.detail
    assert "docs/capacity.md" in finding.advice


async def test_a_minute_of_each_of_the_last_hours_is_counted(connection):
    now = datetime.now(UTC)
    ages = [
        "30 seconds",
        "2 minutes",
        "1 hour 30 seconds",
        "1 hour 59 seconds",
        "23 hours 30 seconds",
        "25 hours",
    ]
    await connection.executemany(PING, [(number, now, age) for number, age in enumerate(ages, 1)])
    counts = await samples(connection, now)
    assert len(counts) == SAMPLES
    assert (counts[0], counts[1], counts[23], sum(counts)) == (1, 2, 1, 4)
