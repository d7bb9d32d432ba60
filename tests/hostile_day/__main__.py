"""Runs the attacks, prints what held; leaves with 1 where one did not."""

import argparse
import asyncio
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from faults.test_kill import assert_exactly_once

from hostile_day.attacks import ATTACKS
from hostile_day.stand import Stand, customers_of


class Row:
    def __init__(self, name, expected):
        self.name, self.expected, self.seen, self.wrong = name, expected, "", []


async def carried_out(attack, stand, customers, small):
    """One row: the attack, and what has to be so during and after each."""
    row = Row(attack.name, attack.expected)
    began, logged, workers = time.monotonic(), stand.log.stat().st_size, stand.workers
    try:
        row.seen = await asyncio.wait_for(attack.function(stand, small), 300)
    except AssertionError as error:
        row.wrong.append(str(error))
    except Exception as error:
        row.wrong.append(f"{type(error).__name__}: {error}"[:300])
    if stand.process.poll() is not None:
        row.wrong.append(f"the server ended with {stand.process.returncode}; it is started again")
        await asyncio.to_thread(stand.start)
    served = await asyncio.gather(*(customer.served(attack.bound) for customer in customers))
    if not all(served):
        row.wrong.append(
            f"{served.count(False)} of {len(served)} customers not served after {attack.bound} s"
        )
    longest = max(customer.longest_wait(began) for customer in customers)
    if longest > attack.bound:
        row.wrong.append(f"an upload waited {longest:.1f} s")
    try:
        await stand.until_ready(200, attack.bound)
    except AssertionError as error:
        row.wrong.append(str(error))
    if attack.workers_stay and stand.workers != workers:
        row.wrong.append("a worker died")
    row.wrong += in_the_log(stand.logged_since(logged), stand, attack.log_bytes)
    for customer in customers:
        row.wrong += sorted(set(customer.wrong))
        customer.wrong.clear()
    row.seen += f"; longest upload {longest:.1f} s, in all {time.monotonic() - began:.0f} s"
    return row


def in_the_log(said, stand, most):
    wrong = [f"{word!r} in the log" for word in ("Traceback", "Unhandled") if word in said]
    wrong += ["a secret or an address in the log"] * any(never in said for never in stand.never_in_the_log)
    return wrong + [f"{len(said)} bytes of log"] * (len(said) > most)


async def counted_once(stand, customers):
    row = Row("all acknowledged pings, at the end", "in the database exactly once; no copy taken for a fork")
    sent = sum(len(customer.acknowledged) for customer in customers)
    again = sum(customer.resent for customer in customers)
    row.seen = f"{sent} acknowledged, {again} uploads sent again"
    try:
        await assert_exactly_once(stand.dsn, customers)
    except Exception as error:
        row.wrong.append(f"{type(error).__name__}: {str(error)[:200]}")
    return row


COUNTED_OTHERWISE = """
    SELECT count(*)
    FROM (
        SELECT installation_id, count(*) AS most, count(*) FILTER (WHERE received_at < now()) AS least
        FROM pings GROUP BY installation_id
    ) AS p
    FULL JOIN (
        SELECT installation_id, sum(pings) AS counted FROM installation_days GROUP BY installation_id
    ) AS d USING (installation_id)
    WHERE coalesce(counted, 0) NOT BETWEEN CASE WHEN $1 THEN most ELSE least END AND coalesce(most, 0)
"""
IN_ALL = """
    SELECT (SELECT count(*) FROM pings), (SELECT sum(pings) FROM installation_days),
           (SELECT sum(pings) FROM fleet_days WHERE dimension = 'all' AND verdict = '')
"""


async def rolled_up_once(stand, small):
    """Pings received by a clock ahead are counted in the next quarter of an hour: the short tier has no time for it."""
    row = Row("the roll-ups, at the end", "each ping of each installation counted exactly once")
    deadline = time.monotonic() + (120 if small else 1_000)
    while True:
        for job in ("roll up pings", "roll up days"):
            await asyncio.to_thread(stand.run, "run", job)
        [(wrong,)] = await stand.fetch(COUNTED_OTHERWISE, not small)
        [(pings, of_days, of_the_fleet)] = await stand.fetch(IN_ALL)
        if (not wrong and of_days == of_the_fleet) or time.monotonic() > deadline:
            break
        await asyncio.sleep(5)
    row.seen = f"{pings} pings; {of_days} counted in days of installations, {of_the_fleet} of the fleet"
    if wrong or of_days != of_the_fleet:
        row.wrong.append(f"{wrong} installations counted otherwise")
    return row


async def stopped(stand):
    row = Row("SIGTERM at the end", "exit code 0; no process left")
    workers, postmaster = stand.workers, stand.postmaster
    code = await asyncio.to_thread(stand.stop)
    await asyncio.sleep(1)
    left = [pid for pid in (*workers, postmaster) if runs(pid)]
    row.seen = f"exit code {code}"
    if code or left:
        row.wrong.append(f"processes left: {left}")
    return row


def runs(pid):
    """Whether there is such a process; one that ended and that its parent has not asked for does not run."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def day(place, attacks, small):
    stand = Stand(place)
    try:
        await asyncio.to_thread(stand.start)
        customers = await customers_of(stand)
        stop = asyncio.Event()
        sending = [
            asyncio.create_task(customer.run(stop, random.Random(n))) for n, customer in enumerate(customers)
        ]
        await asyncio.sleep(1)
        for attack in attacks:
            row = await carried_out(attack, stand, customers, small)
            show(row)
            yield row
        stop.set()
        _, unserved = await asyncio.wait(sending, timeout=60)
        for task in unserved:
            task.cancel()
        for row in (
            await counted_once(stand, customers),
            await rolled_up_once(stand, small),
            await stopped(stand),
        ):
            show(row)
            yield row
    finally:
        await asyncio.to_thread(stand.close)


def show(row):
    """A line as soon as it is known; the table comes at the end."""
    print(
        "held    " if not row.wrong else "NOT HELD",
        f"{row.name}: {row.seen.strip('; ')}",
        *row.wrong,
        sep="  ",
        flush=True,
    )


def table(rows):
    lines = ["", "| attack | expected | seen | held |", "| --- | --- | --- | --- |"]
    for row in rows:
        seen = "; ".join([*row.wrong, row.seen.strip("; ")])
        lines.append(f"| {row.name} | {row.expected} | {seen} | {'NO' if row.wrong else 'yes'} |")
    return "\n".join(lines)


async def main():
    parser = argparse.ArgumentParser(prog="hostile_day", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the same list with small numbers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only attacks with this in their name")
    options = parser.parse_args()
    chosen = [
        attack
        for attack in ATTACKS
        if not options.names or any(name in attack.name for name in options.names)
    ]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384) if most > 0 else 16_384, most))
    main_task = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main_task.cancel)
    place = Path(tempfile.mkdtemp(prefix="tlm-"))
    place.chmod(0o755)
    try:
        rows = [row async for row in day(place, chosen, options.short)]
        print(table(rows))
        lost = any(row.wrong for row in rows)
        if lost:
            print("\nThe end of the log:\n", (place / "serve.log").read_text()[-3_000:], sep="")
    finally:
        with suppress(OSError):
            shutil.rmtree(place)
    return int(lost)


sys.exit(asyncio.run(main()))
