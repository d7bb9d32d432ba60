"""The command "run"."""

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime

import click

from telemetry_server.app import job_table
from telemetry_server.cli.durations import in_words
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
@click.option("--list", "wants_list", is_flag=True, help="List the jobs instead, and how often each is due.")
@click.option(
    "--clock-is-right",
    is_flag=True,
    help="Forget though the clock is far beyond the last ping: the server was off, and no copy reports.",
)
@as_json
@click.pass_obj
def run(
    invocation: Invocation, job: tuple[str, ...], wants_list: bool, clock_is_right: bool, as_json: bool
) -> None:
    """Run a background JOB now, e.g.: telemetry-server run make partitions

    It runs whether its time has come or not; "roll up days" and "count the fleet" still leave what is large
    until 5 minutes have passed. A running server does all of them by itself. Exits with 5 where another
    process is at it.
    """
    settings = invocation.settings()
    if wants_list or not job:
        _print_jobs(job_table(settings), as_json)
    else:
        _run_now(settings, _find(" ".join(job), job_table(settings)), clock_is_right, as_json)


def _print_jobs(jobs: tuple[Job, ...], as_json: bool) -> None:
    if as_json:
        known = [{"job": job.name, "every_seconds": int(job.every.total_seconds())} for job in jobs]
        print_json({"jobs": known})
    else:
        print_table(("job", "every"), ((job.name, in_words(int(job.every.total_seconds()))) for job in jobs))


def _find(name: str, jobs: tuple[Job, ...]) -> Job:
    for job in jobs:
        if job.name == name.replace("-", " "):
            return job
    raise OperatorError(f'There is no job {name!r}; "run --list" shows those that are there.')


def _run_now(settings: Settings, job: Job, clock_is_right: bool, as_json: bool) -> None:
    done = asyncio.run(_run(settings, job, clock_is_right))
    if done is None:
        raise Busy(f'Another process is at "{job.name}" just now; nothing was done.')
    if as_json:
        print_json({"job": job.name, "done": done})
    else:
        click.echo(f"{job.name}: {done}")


async def _run(settings: Settings, job: Job, clock_is_right: bool) -> str | None:
    async with connection(settings) as opened:
        if clock_is_right:
            await clock.keep_as_of(opened, job.name, datetime.now(UTC))
        return await run_job(job, lambda: nullcontext(opened))
