"""The composition root: the only file that knows all others."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from telemetry_server import app_keys
from telemetry_server.check.fields import Registry, load_registry
from telemetry_server.check.levels import reduce_to_levels
from telemetry_server.check.upload import UploadReader
from telemetry_server.enrich.places.place import Atlas
from telemetry_server.enrich.steps import (
    add_place,
    add_verdict,
    hash_license_key,
    mark_doubtful_time,
    name_state,
)
from telemetry_server.errors import Unavailable
from telemetry_server.investigate.jobs import find_suspicions
from telemetry_server.investigate.routes import ROUTES as INVESTIGATE_ROUTES
from telemetry_server.job_names import JobName
from telemetry_server.jobs import outages, retention, upkeep
from telemetry_server.jobs.active import count_active_copies
from telemetry_server.jobs.audit_checkpoint import write_audit_checkpoint
from telemetry_server.jobs.audit_mail import mail_audit_checkpoint
from telemetry_server.jobs.audit_witness import send_to_witness
from telemetry_server.jobs.clear_up import list_what_to_clear_up
from telemetry_server.jobs.clock import forgetting, take_back_future_times, waiting
from telemetry_server.jobs.cohorts import roll_up_cohorts
from telemetry_server.jobs.days import roll_up_days
from telemetry_server.jobs.deadlines import watch_deadlines
from telemetry_server.jobs.fleet_now import count_the_fleet
from telemetry_server.jobs.hostnames import look_up_hostnames
from telemetry_server.jobs.kept_days import most_behind, shortest
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.jobs.runner import Chore, Job, running
from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.keyring import Keyring
from telemetry_server.logs import write_held_lines
from telemetry_server.mailer import Mailer
from telemetry_server.middleware import (
    answering,
    drop_server_header,
    for_browsers,
    no_such_address,
    no_such_method,
)
from telemetry_server.privacy.figures import release_public_figures
from telemetry_server.privacy.jobs import carry_out_erasures, keep_to_levels, keeping_held
from telemetry_server.privacy.routes import ROUTES as PRIVACY_ROUTES
from telemetry_server.privacy.self_service import SelfService
from telemetry_server.privacy.self_service import routes as self_service_routes
from telemetry_server.receive.body import LARGEST_SENT, unpack
from telemetry_server.receive.bundles import BUNDLES, Bundles
from telemetry_server.receive.capacity import Capacity, connections_within, open_files
from telemetry_server.receive.connections import CAPACITY, UPLOADS
from telemetry_server.receive.enroll import Enrolments
from telemetry_server.receive.limiter import Limiter, refuse_flood
from telemetry_server.receive.pings import Uploads, commit
from telemetry_server.receive.routes import routes as receive_routes
from telemetry_server.receive.signature import Verifier, refuse_unsigned
from telemetry_server.receive.slow_lane import RATION_SECONDS, SlowLane
from telemetry_server.receive.webhook import ShopWebhook
from telemetry_server.routing import Access, Route
from telemetry_server.settings import Settings
from telemetry_server.show.access.guard import guard
from telemetry_server.show.access.notices import MAILER
from telemetry_server.show.access.oidc import OIDC, oidc_clients
from telemetry_server.show.access.passwords import PASSWORDS, Passwords
from telemetry_server.show.live_feed import LIVE, LiveFeed
from telemetry_server.show.pages.server_settings import JOB_CONNECTIONS, JOBS
from telemetry_server.show.pages.share_links import LIMITER, PAGES_A_MINUTE
from telemetry_server.show.render import compile_templates
from telemetry_server.show.routes import ROUTES as SHOW_ROUTES
from telemetry_server.show.unknown_addresses import with_page_for_people
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.access.audit_log import number_entries
from telemetry_server.store.access.keyring_check import KeyringWatch
from telemetry_server.store.clock_watch import ClockWatch
from telemetry_server.store.connection_budget import job_pool_size
from telemetry_server.store.database import Pool, connect_writer, cut_when_leaving, make_pool, translated
from telemetry_server.store.ingest.followed import FollowedPings
from telemetry_server.store.ingest.grant_cache import GrantCache
from telemetry_server.store.ingest.outcomes import OutcomeCounter
from telemetry_server.store.ingest.privacy_cache import PrivacyCache
from telemetry_server.store.ingest.product_cache import ProductCache
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.job_log import Run
from telemetry_server.store.registry.products import keep_parent
from telemetry_server.store.registry.shop import Shop
from telemetry_server.store.reports.export import Exports
from telemetry_server.store.upkeep.health import PATIENCE_SECONDS, in_time, look_at_database
from telemetry_server.store.upkeep.vitals import Schedule
from telemetry_server.store.visible import show_what_may_be_seen
from telemetry_server.support.customer_routes import SUPPORT_KEYS, SupportGrants, customer_routes
from telemetry_server.support.jobs import forget_support_grants
from telemetry_server.support.routes import ROUTES as SUPPORT_ROUTES
from telemetry_server.support.support_keys import SupportKeys

ROUTES_FOR_PEOPLE = (*SHOW_ROUTES, *INVESTIGATE_ROUTES, *PRIVACY_ROUTES, *SUPPORT_ROUTES)
"""The pages and the API: what the tests of permissions and of the audit log go through."""

_SUPPORT_REQUESTS_PER_MINUTE = 30


def job_table(settings: Settings) -> tuple[Job, ...]:
    """The background jobs, each run once for the whole deployment."""
    registry = load_registry().keeping(settings.retention_days)
    hostnames = Job(JobName.LOOK_UP_HOSTNAMES, look_up_hostnames(), every=timedelta(minutes=5))
    release = release_public_figures(settings.keyring)
    figures = Job(JobName.RELEASE_PUBLIC_FIGURES, release, every=timedelta(hours=1))
    send = send_to_witness(settings.audit_witness_url, settings.audit_witness_token)
    witness = Job(JobName.SEND_AUDIT_CHECKPOINT, send, every=timedelta(minutes=1))
    return (
        Job(JobName.MAKE_PARTITIONS, upkeep.make_partitions, every=timedelta(hours=1)),
        Job(JobName.ROLL_UP_PINGS, roll_up_pings(registry), every=timedelta(minutes=1)),
        Job(JobName.ROLL_UP_DAYS, roll_up_days(registry), every=timedelta(minutes=1)),
        Job(JobName.COUNT_ACTIVE_COPIES, count_active_copies(registry), every=timedelta(minutes=1)),
        Job(JobName.COUNT_THE_FLEET, count_the_fleet(), every=timedelta(minutes=1)),
        Job(JobName.ROLL_UP_COHORTS, waiting(roll_up_cohorts(registry)), every=timedelta(hours=1)),
        Job(JobName.TAKE_BACK_FUTURE_TIMES, take_back_future_times, every=timedelta(minutes=1)),
        *_forgetting_jobs(settings, registry),
        _forgetting(JobName.FORGET_SUPPORT_GRANTS, forget_support_grants, every=timedelta(hours=1)),
        Job(
            JobName.WRITE_AUDIT_CHECKPOINT,
            write_audit_checkpoint(settings.keyring, settings.audit_directory, settings.audit_timestamp_url),
            every=timedelta(minutes=10),
        ),
        *([witness] if settings.audit_witness_url else []),
        Job(JobName.MAIL_AUDIT_CHECKPOINT, mail_audit_checkpoint(Mailer(settings)), every=timedelta(days=1)),
        Job(JobName.CATCH_UP, upkeep.catch_up, every=timedelta(minutes=10)),
        Job(JobName.WATCH_DEADLINES, watch_deadlines, every=timedelta(seconds=10)),
        *([hostnames] if settings.reverse_dns else []),
        Job(JobName.JUDGE_INSTALLATIONS, judge_installations, every=timedelta(seconds=20)),
        Job(JobName.LIST_WHAT_TO_CLEAR_UP, list_what_to_clear_up, every=timedelta(minutes=5)),
        Job(
            JobName.CARRY_OUT_ERASURES,
            carry_out_erasures(registry, settings.keyring, settings.backup_retention_days),
            every=timedelta(minutes=1),
        ),
        *([figures] if settings.public_figures else []),
        Job(JobName.KEEP_TO_LEVELS, keeping_held(keep_to_levels(registry)), every=timedelta(hours=1)),
        Job(
            JobName.FIND_SUSPICIONS,
            find_suspicions(settings.own_rules, settings.detection_allowed_networks, settings.base_rate),
            every=timedelta(hours=1),
        ),
    )


def _forgetting_jobs(settings: Settings, registry: Registry) -> tuple[Job, ...]:
    return (
        _forgetting(
            JobName.FORGET_OLD_PINGS,
            keeping_held(retention.forget_old_pings(registry)),
            keeps=shortest(registry, "ping", "usage", "fact"),
        ),
        _forgetting(
            JobName.FORGET_OLD_COUNTERS,
            keeping_held(retention.forget_old_counters(registry)),
            keeps=shortest(registry, "usage"),
        ),
        _forgetting(
            JobName.SHORTEN_ADDRESSES,
            keeping_held(retention.shorten_addresses(settings.address_retention_days)),
            keeps=timedelta(days=settings.address_retention_days) or timedelta.max,  # with 0 all are erased
        ),
        _forgetting(JobName.EMPTY_QUARANTINE, keeping_held(retention.empty_quarantine)),
        _forgetting(JobName.FORGET_DELIVERIES, retention.forget_deliveries),
        _forgetting(JobName.FORGET_ENROLMENTS, keeping_held(retention.forget_enrolments)),
        _forgetting(
            JobName.FORGET_SESSIONS,
            retention.forget_sessions,
            every=timedelta(hours=1),
            keeps=timedelta(days=retention.SESSIONS_DAYS),
        ),
        _forgetting(
            JobName.FORGET_AUDIT_ENTRIES,
            keeping_held(retention.forget_audit_entries(settings.audit_retention_days)),
            keeps=timedelta(days=settings.audit_retention_days),
        ),
    )


def _forgetting(
    name: JobName, run: Run, *, every: timedelta = timedelta(days=1), keeps: timedelta = timedelta.max
) -> Job:
    return Job(name, forgetting(name, run, keeps), every)


def create_app(settings: Settings, keyring: Keyring, dsn: str, leaving: asyncio.Event) -> web.Application:
    """The application; wires its parts, and does no work. Call it in the running event loop.

    Resources are opened and closed in `cleanup_ctx`. Once `leaving` is set, connections are closed.
    """
    pool = make_pool(dsn, setup=show_what_may_be_seen)
    job_pool = make_pool(dsn, size=job_pool_size(settings.workers))
    health_pool = make_pool(dsn, size=1, patience=PATIENCE_SECONDS)
    keep_address = settings.address_retention_days > 0
    product_cache, atlas = ProductCache(pool), Atlas(settings.geoip)
    privacy_cache = PrivacyCache(pool, settings.base_url, settings.notice)
    outcomes, followed = OutcomeCounter(), FollowedPings(load_registry(), privacy_cache.allowed)
    watch = KeyringWatch(keyring, pool.acquire)
    bound = most_behind(load_registry().keeping(settings.retention_days))
    clock_watch = ClockWatch(pool.acquire, bound)
    verifier = Verifier(keyring, product_cache.find)
    writer = GroupWriter(
        partial(connect_writer, dsn),
        lanes=settings.writer_lanes,
        most_bytes=settings.most_waiting_mebibytes * 2**20,
    )
    grants = GrantCache(partial(connect_writer, dsn), most_bytes=settings.most_waiting_mebibytes * 2**20)

    async def look_again() -> None:
        await watch.look()
        await product_cache.refresh()
        if watch.problem:  # an unknown key may be valid
            raise Unavailable

    look_once = SingleFlight(look_again).run
    uploads = Uploads(
        steps=[
            refuse_unsigned(verifier, look_once),
            clock_watch.refuse_pings,
            refuse_flood(Limiter(settings.uploads_per_minute, 60)),
            unpack(),
            UploadReader(load_registry()).read,
            add_place(atlas),
            mark_doubtful_time(),
            hash_license_key(keyring),
            reduce_to_levels(load_registry(), privacy_cache.allowed),
            name_state(keyring),
            grants.prefetch,
            add_verdict(grants.find, by_address=keep_address),
            commit(writer.write, keep_address=keep_address),
            outcomes.count,
            followed.keep,
        ],
        slow_lane=SlowLane(
            cpu=Limiter(settings.network_cpu_percent / 100 * RATION_SECONDS, RATION_SECONDS),
            inflated=Limiter(settings.network_mebibytes_per_minute * 2**20, 60),
        ),
        news_for=privacy_cache.news_for,
        trusted_proxies=settings.trusted_proxies,
    )
    enrolments = Enrolments(
        keyring=keyring,
        verifier=verifier,
        find_by_key=product_cache.find_by_key,
        keep_parent=_with_connection(pool, keep_parent),
        limiter=Limiter(settings.enrolments_per_hour, 3600),
        look_again=look_once,
        demand_time=clock_watch.demand,
        notice=privacy_cache.for_enrolment,
        trusted_proxies=settings.trusted_proxies,
        keep_address=keep_address,
    )
    own = SelfService(
        verifier=verifier,
        look_again=look_once,
        limiter=Limiter(settings.enrolments_per_hour, 3600),
        pool=pool,
        trusted_proxies=settings.trusted_proxies,
    )
    shop = ShopWebhook(
        settings.shop_webhook_secret, Shop(pool.acquire, keyring).carry_out, clock_watch.demand
    )
    support = SupportGrants(pool, verifier, look_once, Limiter(_SUPPORT_REQUESTS_PER_MINUTE, 60))
    bundles = Bundles(
        verifier=verifier,
        look_again=look_once,
        limiter=Limiter(settings.enrolments_per_hour, 3600),
        takers={
            "/v1/pings": uploads.take_carried,
            "/v1/enroll": enrolments.take,
            "/v1/forget": own.take,
            "/v1/support-grants": support.take_grant,
            "/v1/support-grants/revoke": support.take_revocation,
        },
        trusted_proxies=settings.trusted_proxies,
    )
    support_keys = SupportKeys(settings.support_directory)
    capacity = Capacity(
        most_connections=connections_within(open_files()),
        most_bytes=settings.most_incoming_mebibytes * 2**20,
    )
    chores = (
        Chore("read master keys", watch.look, every=timedelta(seconds=5)),
        Chore("compare clocks", clock_watch.look, every=timedelta(seconds=5)),
        Chore("read products", product_cache.refresh, every=timedelta(seconds=5)),
        Chore("read notices and levels", privacy_cache.refresh, every=timedelta(seconds=5)),
        Chore("write down counts", _with_connection(pool, outcomes.write_down), every=timedelta(seconds=5)),
        Chore(
            "exchange followed pings", _with_connection(pool, followed.exchange), every=timedelta(seconds=2)
        ),
        Chore(
            "say that it serves",
            _with_connection(pool, outages.say_that_it_serves),
            every=timedelta(minutes=1),
        ),
        Chore(
            "number audit entries", _with_connection(pool, number_entries), every=timedelta(milliseconds=500)
        ),
        Chore("look for new places", _in_thread(atlas.refresh), every=timedelta(minutes=1)),
        Chore("compile templates", _in_thread(compile_templates), every=timedelta(days=1)),
        Chore("log what was rationed", _at_once(write_held_lines), every=timedelta(seconds=5)),
        Chore(
            "destroy expired support keys", _in_thread(support_keys.destroy_expired), every=timedelta(hours=1)
        ),
        Chore("give memory back", _at_once(capacity.give_memory_back), every=timedelta(seconds=5)),
    )

    app = web.Application(client_max_size=LARGEST_SENT)
    app[UPLOADS], app[CAPACITY], app[BUNDLES] = uploads, capacity, bundles
    app.on_response_prepare.append(drop_server_header)
    app[app_keys.EXPORTS], app[SUPPORT_KEYS] = Exports(dsn), support_keys
    table = app[JOBS] = job_table(settings)
    app[JOB_CONNECTIONS] = job_pool.acquire  # a job holds its connection for minutes
    schedule = Schedule({job.name: job.every for job in table}, datetime.now(UTC))
    look = SingleFlight(lambda: look_at_database(health_pool, schedule, datetime.now(UTC), bound)).run
    app[app_keys.DATABASE_CHECKS] = lambda: in_time(look)
    app[app_keys.LEAVING], app[LIVE], app[LIMITER] = leaving, LiveFeed(pool), Limiter(PAGES_A_MINUTE, 60)
    passwords = app[PASSWORDS] = Passwords()
    app[MAILER], app[OIDC] = Mailer(settings), oidc_clients(settings)
    app[app_keys.SETTINGS], app[app_keys.POOL], app[app_keys.ATLAS] = settings, pool, atlas
    app[app_keys.KEYRING], app[app_keys.KEYRING_WATCH], app[app_keys.WRITER] = keyring, watch, writer
    app[app_keys.ROUTES] = (
        *receive_routes(uploads, enrolments, shop, bundles),
        *customer_routes(support),
        *self_service_routes(own),
        *ROUTES_FOR_PEOPLE,
    )
    _register(app, app[app_keys.ROUTES], leaving)
    pools = (pool, job_pool, health_pool)
    app.cleanup_ctx.extend(
        map(_owned, (*pools, product_cache.opened(), privacy_cache.opened(), grants, writer, passwords))
    )
    app.cleanup_ctx.append(_owned(outcomes.kept_to_the_last(pool.acquire)))
    app.cleanup_ctx.append(_owned(running(table if settings.jobs else (), chores, job_pool.acquire)))
    # The last one is closed first.
    app.cleanup_ctx.append(_owned(cut_when_leaving(*pools)))
    return app


def _register(app: web.Application, routes: tuple[Route, ...], leaving: asyncio.Event) -> None:
    handlers: dict[str, dict[str, Handler]] = defaultdict(dict)
    for route in routes:
        handler = route.handler
        if route.access in {Access.PUBLIC, Access.PERSON}:
            handler = for_browsers(guard(route))
        handlers[route.path][route.method] = answering(handler, leaving)
    for path, by_method in handlers.items():
        if "GET" in by_method:
            by_method["HEAD"] = by_method["GET"]
        for method, handler in by_method.items():
            app.router.add_route(method, path, handler)
        app.router.add_route("*", path, answering(no_such_method(by_method), leaving))
    unknown = for_browsers(with_page_for_people(no_such_address(handlers)))
    app.router.add_route("*", "/{path:.*}", answering(unknown, leaving))


def _owned(resource: AbstractAsyncContextManager[Any]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def context(_: web.Application) -> AsyncIterator[None]:
        async with resource:
            yield

    return context


def _with_connection(pool: Pool, call: Callable[..., Any]) -> Callable[..., Any]:
    async def with_connection(**arguments: Any) -> None:
        async with translated(), pool.acquire() as connection:
            await call(connection, **arguments)

    return with_connection


def _at_once(call: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def done() -> None:
        call()

    return done


def _in_thread(call: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.to_thread(call)
