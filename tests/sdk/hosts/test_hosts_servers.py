"""uvicorn by itself and with workers, uWSGI in its modes, Django's development server with its autoreload."""

import os
import signal
import time

import pytest
from environments import APPS
from stand import members

small = pytest.mark.small


# ── uvicorn ─────────────────────────────────────────────────────────────────────────────────

UVICORN = [
    pytest.param((), marks=small, id="alone"),
    pytest.param(("--workers", "3"), id="workers"),
]


@pytest.fixture
def uvicorn(make_stand):
    def start(options, ends):
        stand = make_stand("uvicorn", " ".join(("uvicorn", *options)), ends)
        process = stand.start(
            "-m", "uvicorn", "--port", stand.port, "--log-level", "warning", *options, "web:asgi"
        )
        stand.serves(process)
        return stand, process

    return start


@pytest.mark.parametrize("options", UVICORN)
def test_uvicorn_that_is_terminated_loses_no_count(uvicorn, options):
    """It sends itself the signal again, with the default handler: no atexit runs."""
    stand, process = uvicorn(options, "idle, then SIGTERM")
    stand.request(600)
    stand.idles(process, threads=4)
    stand.end(process)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", [case.values[0] for case in UVICORN], ids=["alone", "workers"])
def test_uvicorn_that_is_terminated_at_work_loses_no_count(uvicorn, options):
    stand, process = uvicorn(options, "SIGTERM at work")
    load = stand.load(4000)
    stand.until_returned(600)
    stand.end(process)
    load.finish()
    stand.judge(at_least=600)


def test_uvicorn_that_recycles_its_workers_loses_no_count(uvicorn):
    stand, process = uvicorn(("--workers", "3", "--limit-max-requests", "60"), "recycled, SIGTERM")
    stand.request(600, seconds=30)  # its workers reach the limit together, and new ones take seconds to start
    stand.end(process)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", [(), ("--workers", "3")], ids=["alone", "workers"])
def test_uvicorn_that_is_killed_at_random_loses_no_count(uvicorn, options):
    stand, process = uvicorn(options, "kill -9 at random")
    load = stand.load(4000)
    for returned in range(100, 700, 100):
        stand.until_returned(returned)
        if options:
            stand.kill_one(process)
    stand.kill(process)
    load.finish()
    stand.judge(at_least=600)


# ── uWSGI ───────────────────────────────────────────────────────────────────────────────────

UWSGI = [(), ("--lazy-apps",), ("--enable-threads",), ("--enable-threads", "--threads", "4")]
RECYCLED = ("--max-requests", "40")


@pytest.fixture
def uwsgi(make_stand):
    def start(options, ends):
        stand = make_stand("uwsgi", " ".join(("uwsgi", *options)), ends)
        program = os.path.join(os.path.dirname(stand.python), "uwsgi")
        served = ("--http-socket", f"127.0.0.1:{stand.port}", "--module", "web:application")
        modes = ("--master", "--processes", "3", "--die-on-term", "--worker-reload-mercy", "5", "--need-app")
        home = os.path.dirname(os.path.dirname(stand.python))
        process = stand.start(*served, *modes, "--virtualenv", home, *options, program=program)
        stand.serves(process)
        return stand, process

    return start


@pytest.mark.parametrize("options", UWSGI, ids=lambda options: " ".join(options) or "default")
def test_uwsgi_that_is_terminated_loses_no_count(uwsgi, options):
    """It forks in C, while threads of the application's run or, by default, stand still."""
    stand, process = uwsgi(options, "idle, then SIGTERM")
    stand.request(600)
    stand.idles(process, threads=8)
    stand.end(process)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", UWSGI, ids=lambda options: " ".join(options) or "default")
def test_uwsgi_that_recycles_its_workers_loses_no_count(uwsgi, options):
    stand, process = uwsgi((*options, *RECYCLED), "recycled, SIGTERM")
    stand.request(600)
    stand.end(process)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", UWSGI, ids=lambda options: " ".join(options) or "default")
def test_uwsgi_that_is_killed_at_random_loses_no_count(uwsgi, options):
    stand, process = uwsgi(options, "kill -9 at random")
    load = stand.load(4000)
    for returned in range(100, 700, 100):
        stand.until_returned(returned)
        stand.kill_one(process)
    stand.kill(process)
    load.finish()
    stand.judge(at_least=600)


# ── Django ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def runserver(make_stand):
    """The development server on a copy of the site, so that the site can be edited."""

    def start(ends):
        stand = make_stand("django", "django runserver", ends)
        stand.site = stand.home / "site_of_django.py"
        stand.site.write_bytes((APPS / "site_of_django.py").read_bytes())
        process = stand.start(stand.site, "runserver", f"127.0.0.1:{stand.port}")
        stand.serves(process)
        return stand, process

    return start


def edit(stand):
    """The site is saved again; the server sees that within a second or two."""
    later = time.time() + 1
    os.utime(stand.site, (later, later))


def test_django_that_reloads_the_site_loses_no_count(runserver):
    stand, process = runserver("reloaded, idle, SIGTERM")
    for _ in range(4):
        stand.request(150)
        before = members(process.pid)
        edit(stand)
        stand.until(lambda old=before: set(members(process.pid)) - set(old), "a reload")
        stand.serves(process)
    stand.idles(process, threads=6, cpu_seconds=3)  # its reloader reads the time of every file each second
    os.killpg(process.pid, signal.SIGTERM)
    stand.ended(process)
    stand.judge(at_least=600)


def test_django_that_reloads_the_site_at_work_loses_no_count(runserver):
    stand, process = runserver("reloaded at work, Ctrl-C")
    load = stand.load(3000)
    for returned in (200, 400, 600):
        stand.until_returned(returned)
        edit(stand)
        time.sleep(2.5)
        stand.serves(process)
        load.finish()
        load = stand.load(3000)
    stand.until_returned(800)
    os.killpg(process.pid, signal.SIGINT)
    stand.ended(process)
    load.finish()
    stand.judge(at_least=800)


def test_django_that_is_killed_loses_no_count(runserver):
    stand, process = runserver("kill -9 at random")
    load = stand.load(3000)
    stand.until_returned(600)
    stand.kill(process)
    load.finish()
    stand.judge(at_least=600)
