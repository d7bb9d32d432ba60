"""A disk that is full: nothing acknowledged is lost, the server says so, and it comes back by itself."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress

import aiohttp
import asyncpg
import pytest
from installation import Installation
from patience import until
from places import ROOT

from telemetry_server.store.embedded.postmaster import Processes

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.slow(reason="/readyz is asked for twelve seconds in which nothing is sent"),
]

MEBIBYTES = {"tmpfs": 256, "ext4": 256, "btrfs": 384}
PINGS = 300


class Disk:
    """A small file system of its own."""

    def __init__(self, kind, folder):
        self.kind, self.place = kind, folder / "disk"
        self.place.mkdir()
        if kind == "tmpfs":
            self._run("mount", "-t", kind, "-o", f"size={MEBIBYTES[kind]}m,mode=755", kind, self.place)
            return
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(MEBIBYTES[kind] << 20)
        self._run(f"mkfs.{kind}", "-q", image)
        self._run("mount", "-o", "loop", image, self.place)
        self.place.chmod(0o755)

    def _run(self, *command):
        subprocess.run(command, check=True, capture_output=True)

    def fill(self):
        with (self.place / "filler").open("ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        filler.write(bytes(size))
        self._sync()

    def make_room(self):
        (self.place / "filler").unlink()
        self._sync()

    def _sync(self):
        """Of this file system only: tests of power cuts run beside."""
        self._run("sync", "--file-system", self.place)

    def close(self):
        self._run("umount", "--lazy", self.place)


@pytest.fixture(params=MEBIBYTES)
def disk(request, short_directory):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    if request.param != "tmpfs" and shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"no mkfs.{request.param} on this machine")
    try:
        disk = Disk(request.param, short_directory)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine mounts no {request.param}: {error.stderr.decode(errors='replace')}")
    yield disk
    disk.close()


class Server:
    """`serve` with its data on the disk."""

    def __init__(self, disk):
        self.data = disk.place / "data"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
        command = [sys.executable, "-m", "telemetry_server", "serve", "--data", self.data]
        self.process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--product", "Example"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = ""
        while "Sign in" not in said:
            line = self.process.stdout.readline()
            assert line, said
            said += line
        self.product_key = re.search(r"Product key +(\S+)", said)[1]
        self.url = re.search(r"Address +(\S+)", said)[1]
        self.dsn = f"postgresql://telemetry@/telemetry?host={self.data}/run"

    async def readiness(self):
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
            document = await answer.json()
            return answer.status, {check["name"]: check for check in document["checks"]}

    async def until_ready(self):
        async def ready():
            return (await self.readiness())[0] == 200

        await until(ready, 90, every=0.2)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        for process in Processes(self.data / "postgres").all():
            process.kill()


@pytest.fixture
def server(disk):
    server = Server(disk)
    yield server
    server.close()


async def test_a_full_disk_is_said_at_readyz_and_costs_no_acknowledged_ping(disk, server):
    installation, acknowledged = await Installation.enrolled(server), set()

    async def send(body, numbers):
        answer = await installation.send_bytes(body)
        if answer.status == 200:
            acknowledged.update(numbers)
        return answer.status

    def next_body():
        pings = [installation.ping() for _ in range(PINGS)]
        return installation.upload(*pings), [ping["sequence"] for ping in pings]

    assert await send(*next_body()) == 200
    assert (await server.readiness())[0] == 200
    await asyncio.to_thread(disk.fill)
    for _ in range(300):
        refused = next_body()
        if (status := await send(*refused)) != 200:
            break
    assert status == 503

    for _ in range(8):  # nothing is sent meanwhile, as a load balancer sends nothing
        status, checks = await server.readiness()
        assert (status, checks["pings"]["ok"], checks["pings"]["needed"]) == (503, False, True)
        assert checks["pings"]["detail"].startswith("can't be written: ")
        await asyncio.sleep(1.5)
    assert await send(*refused) == 503

    await asyncio.to_thread(disk.make_room)
    await server.until_ready()
    assert await send(*refused) == 200
    connection = await asyncpg.connect(server.dsn)
    kept = [row["sequence"] for row in await connection.fetch("SELECT sequence FROM pings ORDER BY sequence")]
    await connection.close()
    assert kept == sorted(acknowledged)
    server.process.terminate()
    assert await asyncio.to_thread(server.process.wait, 80) == 0
    assert Processes(server.data / "postgres").all() == []
