"""gunicorn with each of its workers, and uvicorn's under it."""

from typing import NamedTuple

import pytest


class Worker(NamedTuple):
    """`host` is a row of PINS, `threads` how many a process may have, with the SDK's."""

    host: str
    threads: int
    arguments: tuple = ()
    application: str = "web:application"


WORKERS = {
    "sync": Worker("gunicorn", 3),
    "gthread": Worker("gunicorn", 8, ("--threads", "4")),
    "gevent": Worker("gevent", 13),  # its hub has a pool of 10
    "eventlet": Worker("eventlet", 3),
    "uvicorn.workers.UvicornWorker": Worker("uvicorn", 3, application="web:asgi"),
}
RECYCLED = ("--max-requests", "40")
OPTIONS = ((), ("--preload",), RECYCLED, ("--preload", *RECYCLED))


def cases(*small, options=OPTIONS):
    """Each worker with each of the options; `small` are those that run with every `make test`."""
    made = []
    for worker in WORKERS:
        for more in options:
            words = " ".join((worker.rpartition(".")[2], *more))
            made.append(pytest.param(worker, more, id=words, marks=[pytest.mark.small] * (words in small)))
    return pytest.mark.parametrize(("worker", "options"), made)


@pytest.fixture
def start(make_stand):
    """A gunicorn that answers, and its stand."""

    def start(worker, options, ends, **more):
        host, _threads, arguments, application = WORKERS[worker]
        name = " ".join(("gunicorn -k", worker, *options))
        stand = make_stand(
            host, name, ends, forks_beside_threads=host != "eventlet", **more
        )  # a control socket's
        served = ("--bind", f"127.0.0.1:{stand.port}", "--workers", 3, "--graceful-timeout", 5)
        process = stand.start("-m", "gunicorn", "-k", worker, *served, *arguments, *options, application)
        stand.serves(process)
        return stand, process

    return start


@cases("sync", "gthread --preload", "gevent --preload")
def test_gunicorn_that_is_terminated_at_rest_loses_no_count(start, worker, options):
    stand, gunicorn = start(worker, options, "idle, then SIGTERM")
    stand.request(600)
    stand.idles(gunicorn, threads=WORKERS[worker].threads)
    stand.end(gunicorn)
    stand.judge(at_least=600)


@cases()
def test_gunicorn_that_is_terminated_at_work_loses_no_count(start, worker, options):
    stand, gunicorn = start(worker, options, "SIGTERM at work")
    load = stand.load(2000)
    stand.until_returned(600)
    stand.end(gunicorn)
    load.finish()
    stand.judge(at_least=600)


@cases("sync")
def test_gunicorn_that_is_killed_at_random_loses_no_count(start, worker, options):
    stand, gunicorn = start(worker, options, "kill -9 at random")
    load = stand.load(4000)
    for returned in range(100, 700, 100):
        stand.until_returned(returned)
        stand.kill_one(gunicorn)
    stand.kill(gunicorn)
    load.finish()
    stand.judge(at_least=600)


@cases(options=((), ("--preload",)))
def test_gunicorn_without_a_server_comes_to_rest(start, worker, options):
    """The pings wait, and nothing waits for them."""
    stand, gunicorn = start(worker, options, "no server, idle, then SIGTERM", endpoint="http://127.0.0.1:9")
    stand.request(600)
    stand.idles(gunicorn, threads=WORKERS[worker].threads)
    stand.end(gunicorn)
    stand.judge(at_least=600)
