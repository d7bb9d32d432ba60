"""The command "run"."""

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime

import click

from telemetry_server.app import job_table
from telemetry_server.check.durations import in_words
from telemetry_server.cli.failures import Busy
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, print_table
from telemetry_server.cli.session import connection
from telemetry_server.errors import OperatorError
from telemetry_server.jobs.runner import Job, run_job
from telemetry_server.settings import Settings
from telemetry_server.store import clock


@click.command()
@click.argument("job", nargs=-1)
@click.option("--list", "wants_list", is_flag=True, help="List the jobs and their intervals instead.")
@click.option(
    "--clock-is-right",
    is_flag=True,
    help="Delete old data although the clock is far beyond the last ping: the server was off.",
)
@as_json
@click.pass_obj
def run(
    invocation: Invocation, job: tuple[str, ...], wants_list: bool, clock_is_right: bool, as_json: bool
) -> None:
    """Run a background JOB now, e.g.: telemetry-server run make partitions

    It runs whether it is due or not; only "roll up days" and "count the fleet" still postpone large work for
    5 minutes. A running server runs all jobs by itself. Exits with 5 if another process is running it.
    """
    settings = invocation.settings()
    jobs = job_table(settings)
    if wants_list or not job:
        known = {each.name: int(each.every.total_seconds()) for each in jobs}
        if as_json:
            print_json({"jobs": [{"job": name, "every_seconds": seconds} for name, seconds in known.items()]})
        else:
            print_table(("job", "every"), ((name, in_words(seconds)) for name, seconds in known.items()))
        return
    name = " ".join(job)
    wanted = next((each for each in jobs if each.name == name.replace("-", " ")), None)
    if wanted is None:
        raise OperatorError(f'There is no job {name!r}; "run --list" shows all jobs.')
    done = asyncio.run(_run(settings, wanted, clock_is_right))
    if done is None:
        raise Busy(f'Another process is running "{wanted.name}"; nothing was done.')
    if as_json:
        print_json({"job": wanted.name, "done": done})
    else:
        click.echo(f"{wanted.name}: {done}")


async def _run(settings: Settings, job: Job, clock_is_right: bool) -> str | None:
    async with connection(settings) as opened:
        if clock_is_right:
            await clock.keep_as_of(opened, job.name, datetime.now(UTC))
        return await run_job(job, lambda: nullcontext(opened))
