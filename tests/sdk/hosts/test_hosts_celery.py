"""celery's prefork pool, on a real broker: billiard ends its children with os._exit."""

import shutil
import signal
import subprocess

import pytest

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="redis-server is not here: deploy/install-tools redis-server"
)
RECYCLED = ("--max-tasks-per-child", "20")


@pytest.fixture
def broker(tmp_path):
    """The address of a Redis of the test's own, on a socket."""
    path = tmp_path / "redis"
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:
        yield f"redis+socket://{path}"
        redis.terminate()


@pytest.fixture
def celery(make_stand, broker):
    """A worker at work on 600 tasks, and its stand."""

    def start(options, ends, tasks=600):
        stand = make_stand("celery", " ".join(("celery prefork", *options)), ends)
        stand.run("-m", "tasks", tasks, HOST_BROKER=broker)
        arguments = ("--concurrency", 3, "--loglevel", "warning", "--without-gossip", "--without-mingle")
        process = stand.start(
            "-m",
            "celery",
            "-A",
            "tasks",
            "worker",
            "--pool",
            "prefork",
            *arguments,
            *options,
            HOST_BROKER=broker,
        )
        return stand, process

    return start


@pytest.mark.parametrize("options", [(), RECYCLED], ids=["prefork", "recycled"])
def test_celery_after_its_work_loses_no_count(celery, options):
    stand, process = celery(options, "idle, then SIGTERM")
    stand.until_returned(600)
    stand.idles(process, threads=4, cpu_seconds=1)
    stand.end(process)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", [(), RECYCLED], ids=["prefork", "recycled"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_celery_that_is_shut_down_at_work_loses_no_count(celery, options, number):
    kind = "warm" if number == signal.SIGTERM else "cold"
    stand, process = celery(options, f"{kind} shutdown at work", tasks=1500)
    stand.until_returned(600)
    stand.end(process, number)
    stand.judge(at_least=600)


@pytest.mark.parametrize("options", [(), RECYCLED], ids=["prefork", "recycled"])
def test_celery_that_is_killed_at_random_loses_no_count(celery, options):
    stand, process = celery(options, "kill -9 at random", tasks=1500)
    for returned in range(100, 700, 100):
        stand.until_returned(returned)
        stand.kill_one(process)
    stand.kill(process)
    stand.judge(at_least=600)
