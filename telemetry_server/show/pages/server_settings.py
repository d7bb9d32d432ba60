"""The page "Settings": products with schedules and keys, databases, retention, jobs, the field registry."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

from aiohttp import web
from msgspec import Struct

from telemetry_server import app_keys
from telemetry_server.check.durations import BOUNDS, in_words, seconds_in
from telemetry_server.check.fields import load_registry
from telemetry_server.errors import BadRequest, NotFound
from telemetry_server.jobs.runner import Job, run_job
from telemetry_server.model import Product
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, Route, get
from telemetry_server.show.access.forms import read_form_as
from telemetry_server.show.access.sign_in import FORM_ERRORS
from telemetry_server.show.query import read_query, text
from telemetry_server.show.recorded_views import author, record
from telemetry_server.show.render import attributions, page
from telemetry_server.show.responses import see_other
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.database import Acquire, Connection, translated
from telemetry_server.store.job_log import all_jobs
from telemetry_server.store.reading import reading
from telemetry_server.store.registry import releases, shop
from telemetry_server.store.registry.products import (
    BadSchedule,
    NoSuchProduct,
    all_products,
    change_schedule,
    good_keys,
    product_by_slug,
)

JOBS = web.AppKey("jobs", Sequence[Job])
JOB_CONNECTIONS: web.AppKey[Acquire] = web.AppKey("job connections")


class RunJob(Struct):
    """The job to run now."""

    csrf_token: str
    job: str


class NewSchedule(Struct):
    """A schedule in spans such as 24h and 30d."""

    csrf_token: str
    interval: str
    grace: str
    lost_after: str
    new_for: str


class NewRelease(Struct):
    """A release, or the date and more builds of a known one; `builds` are separated by spaces or commas."""

    csrf_token: str
    version: str
    released_on: str = ""
    supported_until: str = ""
    builds: str = ""


class NewEdition(Struct):
    """An edition: its name in licenses and pings, and for people."""

    csrf_token: str
    edition: str
    name: str


async def show_settings(request: web.Request) -> web.Response:
    read_query(request, ())
    settings, viewer, atlas = (
        request.app[app_keys.SETTINGS],
        request[VIEWER],
        request.app[app_keys.ATLAS],
    )
    async with reading(request.app[app_keys.POOL]) as connection:
        keys = await good_keys(connection)
        products = [
            (
                product,
                {name: in_words(getattr(product, f"{_field(name)}_seconds")) for name in BOUNDS},
                keys.get(product.id, []),
                await releases.releases_of(connection, product),
                await releases.editions_of(connection, product),
            )
            for product in await all_products(connection)
            if viewer.sees(product.slug)
        ]
        runs = {row["name"]: row for row in await all_jobs(connection)}
        deliveries = await shop.deliveries(connection)
    registry = load_registry().keeping(settings.retention_days)
    return page(
        request,
        "server_settings.html",
        products=products,
        jobs=[
            (job, in_words(round(job.every.total_seconds())), runs.get(job.name)) for job in request.app[JOBS]
        ],
        runs_jobs=settings.jobs,
        databases=list(atlas.databases.values()),
        hosting_list=atlas.hosting_list,
        place_problems=atlas.problems,
        retention=registry.retention,
        address_days=settings.address_retention_days,
        audit_days=settings.audit_retention_days,
        shop_is_set_up=bool(settings.shop_webhook_secret),
        shop_address=f"{settings.base_url}/webhooks/shop",
        deliveries=deliveries,
        fields=registry.fields.values(),
        purposes=registry.purposes,
        attributions=attributions(request),
    )


async def run_now(request: web.Request) -> web.Response:
    """Runs the job, and shows the page when it has ended."""
    form = await read_form_as(request, RunJob)
    job = next((each for each in request.app[JOBS] if each.name == form.job), None)
    if job is None:
        raise NotFound("There is no job of this name.")
    pool = request.app[app_keys.POOL]
    await record(pool, request, "settings.run_job", job.name.value)
    async with translated():
        done = await run_job(job, request.app[JOB_CONNECTIONS])
    if done is None:
        raise BadRequest("Another process runs this job just now.")
    return see_other("/settings#jobs")


async def set_schedule(request: web.Request) -> web.Response:
    form = await read_form_as(request, NewSchedule)
    spans = {f"{name}_seconds": _seconds(name, getattr(form, name)) for name in BOUNDS}
    async with translated(), request.app[app_keys.POOL].acquire() as connection, connection.transaction():
        product = await _product(request, connection)
        await change_schedule(connection, product.slug, **spans)
        await record(connection, request, "settings.schedule", product.slug, **spans)
    return see_other("/settings#products")


async def keep_release(request: web.Request) -> web.Response:
    form = await read_form_as(request, NewRelease)
    builds = tuple(form.builds.replace(",", " ").split())
    days = _day(form.released_on), _day(form.supported_until)
    release = releases.Release(_word(form.version), days[0], builds, days[1])
    if any(len(build) > 256 for build in builds):  # noqa: PLR2004  as in service.build
        raise BadRequest("A build may be 256 characters long.")
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        product, by = await _product(request, connection), author(request, None)
        await releases.keep_release(connection, product, release, by=by, now=datetime.now(UTC))
    return see_other("/settings#products")


async def keep_edition(request: web.Request) -> web.Response:
    form = await read_form_as(request, NewEdition)
    edition = releases.Edition(_word(form.edition), _word(form.name, 200))
    async with translated(), request.app[app_keys.POOL].acquire() as connection:
        product, by = await _product(request, connection), author(request, None)
        await releases.keep_edition(connection, product, edition, by=by, now=datetime.now(UTC))
    return see_other("/settings#products")


async def _product(request: web.Request, connection: Connection) -> Product:
    """The product in the path, if the viewer may see it. Raises NoSuchProduct."""
    slug = request.match_info["slug"]
    if not request[VIEWER].sees(slug):
        raise NoSuchProduct("There is no product of this name.")
    return await product_by_slug(connection, slug)


def _seconds(name: str, text: str) -> int:
    seconds, (lowest, highest) = seconds_in(text.strip()), BOUNDS[name]
    if seconds is None or not lowest <= seconds <= highest:
        bounds = f"{in_words(lowest)} to {in_words(highest)}"
        raise BadRequest(f"{name.replace('_', ' ')} is a span such as 24h or 30d, from {bounds}.")
    return seconds


def _field(name: str) -> str:
    return "ping_interval" if name == "interval" else name


def _word(text: str, longest: int = 64) -> str:
    word = text.strip()
    if not 1 <= len(word) <= longest or not word.isprintable():
        raise BadRequest(f"A name has 1 to {longest} visible characters.")
    return word


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text) if text else None
    raise BadRequest("A day is written as 2026-11-22.")


def _route(path: str, handler: Any, summary: str, body: type[Struct], *errors: Any) -> Route:
    slug = Parameter("slug", "The product's slug.", text(), where="path", required=True)
    return Route(
        "POST",
        path,
        handler,
        summary,
        permission=Permission.SETTINGS,
        page=True,
        body=body,
        parameters=(slug,) if "{slug}" in path else (),
        answers={303: ""},
        errors=(*FORM_ERRORS, *errors),
    )


ROUTES = (
    get("/settings", show_settings, "The settings of the server", HTML, permission=Permission.SETTINGS),
    _route("/settings/jobs", run_now, "Run a job now", RunJob, NotFound),
    _route(
        "/settings/products/{slug}/schedule",
        set_schedule,
        "Change the schedule of a product",
        NewSchedule,
        NoSuchProduct,
        BadSchedule,
    ),
    _route(
        "/settings/products/{slug}/releases",
        keep_release,
        "Keep a release of a product",
        NewRelease,
        NoSuchProduct,
    ),
    _route(
        "/settings/products/{slug}/editions",
        keep_edition,
        "Keep an edition of a product",
        NewEdition,
        NoSuchProduct,
    ),
)
