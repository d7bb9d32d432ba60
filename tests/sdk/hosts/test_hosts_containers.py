"""Two containers on one volume: of their own are the process ids and /dev/shm, in common is the state directory."""

import os
import signal
import subprocess
import time

import pytest
from stand import free_port, members

NAME = "two containers on one volume"
HARVEST_SECONDS = 15  # well above the few seconds after which counts are on the volume

CONTAINER = ["--pid", "--fork", "--kill-child", "--mount", "--ipc", "--uts", "--mount-proc"]
ENTRY = 'mount -t tmpfs none /dev/shm && exec "$@"'


def unshared():
    """Whether this machine lets us make namespaces."""
    command = ["unshare", *CONTAINER, "sh", "-c", ENTRY, "-", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not unshared(), reason="making namespaces is not allowed here")


class Container:
    """gunicorn with two workers in a container; its process ids are the same small ones in each."""

    def __init__(self, stand):
        self.stand = stand
        self.port = free_port()
        gunicorn = ["-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{self.port}", "web:application"]
        self.process = stand.start(
            *CONTAINER, "sh", "-c", ENTRY, "-", stand.python, *gunicorn, program="unshare"
        )
        stand.serves(self.process, self.port)

    def stop(self):
        """What a container's engine does: SIGTERM for the first process."""
        first = min(pid for pid in members(self.process.pid) if pid != self.process.pid)
        os.kill(first, signal.SIGTERM)
        self.stand.ended(self.process)


def test_two_containers_on_one_volume_lose_no_count(make_stand):
    stand = make_stand("gunicorn", NAME, "SIGTERM, each started twice", forks_beside_threads=True)
    for _ in range(2):
        containers = [Container(stand), Container(stand)]
        for container in containers:
            stand.request(150, container.port)
        for container in containers:
            container.stop()
    stand.judge(at_least=600)


def test_a_container_with_killed_workers_loses_no_count(make_stand):
    """Its own processes take along what the killed ones left, for no one else sees it."""
    stand = make_stand("gunicorn", NAME, "workers killed at random, SIGTERM", forks_beside_threads=True)
    containers = [Container(stand), Container(stand)]
    loads = [stand.load(2000, container.port) for container in containers]
    for returned in range(100, 700, 100):
        stand.until_returned(returned)
        stand.kill_one(containers[returned // 100 % 2].process, spare=2)
    for load in loads:
        load.finish()
    for container in containers:
        container.stop()
    stand.judge(at_least=600)


def test_a_removed_container_loses_its_last_seconds_only(make_stand):
    """Its memory is gone with it; what was counted before the last seconds is on the volume."""
    stand = make_stand("gunicorn", NAME, "at rest, then removed with kill -9", forks_beside_threads=True)
    containers = [Container(stand), Container(stand)]
    for container in containers:
        stand.request(300, container.port)
    time.sleep(HARVEST_SECONDS)
    for container in containers:
        stand.kill(container.process)
    stand.judge(at_least=600)
