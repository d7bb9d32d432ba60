"""The server as an operator starts it, and the customers who send all the time."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import asyncpg
import psutil
from faults.test_kill import Sender, enrolled, workers_of
from installation import Installation
from places import ROOT
from receive.test_floods import SECRET

OPEN_FILES = 1_024
START_SECONDS = 90
DISK_MEBIBYTES = 1_024
ATTACKER = "127.0.0.66"
PROXY = "127.0.0.2"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Stand:
    """One data directory, and the server that runs on it."""

    def __init__(self, place):
        self.place, self.data, self.log = place, place / "data", place / "serve.log"
        self.listen, self.process = "127.0.0.1:0", None
        self.has_disk = self._mount()
        self.never_in_the_log = {SECRET.decode(), ATTACKER, WEBHOOK_SECRET.removeprefix("whsec_")}

    def _mount(self):
        """Whether the data lie on a small disk of their own, which only root can mount."""
        self.data.mkdir(mode=0o711)
        options = ("-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m,mode=711", "tmpfs", str(self.data))
        return os.geteuid() == 0 and subprocess.run(["mount", *options], check=False).returncode == 0

    @property
    def environment(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
        return environment | {
            "TELEMETRY_DATA": str(self.data),
            "TELEMETRY_TRUSTED_PROXIES": f"{PROXY}/32",
            "TELEMETRY_SHOP_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    @property
    def program(self):
        beside = Path(sys.executable).with_name("telemetry-server")
        return [beside] if beside.exists() else [sys.executable, "-m", "telemetry_server"]

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("prlimit", f"--nofile={OPEN_FILES}:{OPEN_FILES}", *self.program, "serve"),
                    *("--data", self.data, "--listen", self.listen, "--workers", "2", "--product", "Example"),
                ],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        said = ""
        too_late = threading.Timer(START_SECONDS, self.process.kill)
        too_late.start()
        while "Sign in" not in said:
            line = self.process.stdout.readline()
            if not line:
                too_late.cancel()
                self.process.kill()
                self.process.wait()
                self.process.stdout.close()
                raise AssertionError(f"the server did not start: {said}{self.log.read_text()[-500:]}")
            said += line
        too_late.cancel()
        self.url = re.search(r"Address +(\S+)", said)[1]
        self.listen = self.url.removeprefix("http://")
        self.product_key = re.search(r"Product key +(\S+)", said)[1]
        self.welcome = said
        self.never_in_the_log |= {self.product_key, *re.findall(r"token=(\S+)", said)}
        masters = json.loads((self.data / "keyring.json").read_text())["masters"]
        self.never_in_the_log |= {master["secret"] for master in masters.values()}

    def stop(self, seconds=60):
        """The exit code after SIGTERM."""
        self.process.terminate()
        code = self.process.wait(seconds)
        self.process.stdout.close()
        return code

    def close(self):
        """Ends what a failed attack left running."""
        if self.process and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.has_disk:
            subprocess.run(["umount", "--lazy", self.data], check=False)

    def run(self, *arguments, **environment):
        """A command beside the server: exit code, and what it wrote to both streams."""
        done = subprocess.run(
            [*self.program, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    @property
    def dsn(self):
        return f"postgresql://telemetry@/telemetry?host={self.data}/run"

    @property
    def postmaster(self):
        return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])

    @property
    def postgres_processes(self):
        """The server and all its children."""
        server = psutil.Process(self.postmaster)
        return [server.pid, *(child.pid for child in server.children(recursive=True))]

    @property
    def workers(self):
        return sorted(workers_of(self.process.pid))

    @property
    def memory(self):
        """MiB that the workers have in memory, together."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") >> 20

    def logged_since(self, offset):
        """What the server and its PostgreSQL wrote."""
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    async def fetch(self, sql, *arguments):
        connection = await asyncpg.connect(self.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    async def enrolled(self):
        return await Installation.enrolled(self)

    async def readiness(self):
        """Status of /readyz and its checks by name; a worker of the two answers."""
        timeout = aiohttp.ClientTimeout(5)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self.url}/readyz") as answer,
        ):
            document = await answer.json()
            return answer.status, {check["name"]: check for check in document["checks"]}

    async def until_ready(self, status, seconds, in_a_row=1):
        """Waits until /readyz has this status, several times in a row; gives the last checks."""
        deadline, times, found = time.monotonic() + seconds, 0, None
        while times < in_a_row:
            try:
                found = await self.readiness()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                found = (type(error).__name__, {})
            times = times + 1 if found[0] == status else 0
            if time.monotonic() > deadline:
                wrong = [check["detail"] for check in found[1].values() if not check["ok"]]
                raise AssertionError(f"/readyz is {found[0]} after {seconds} s, not {status}: {wrong}")
            if not times:
                await asyncio.sleep(0.2)
        return found[1]


class Customer(Sender):
    """Sends until it is stopped, and the same bytes again until they are acknowledged. Remembers how long that took.

    `keeps` its connection, or makes a new one for each upload.
    """

    def __init__(self, installation, keeps):
        super().__init__(installation)
        self.keeps, self.waits, self.began, self.wrong = keeps, [], None, []

    async def _until_acknowledged(self, body, session):
        self.began = time.monotonic()
        while True:
            try:
                answer = await self.installation.send_bytes(body, session=session if self.keeps else None)
            except (aiohttp.ClientError, OSError, TimeoutError):
                answer = None
            if answer is not None and answer.status == 200:
                break
            if answer is not None and answer.status != 503:
                self.wrong.append(f"a customer got {answer.status}")
            self.resent += 1
            await asyncio.sleep(0.1)
        for result in answer.json["results"]:
            if result["status"] not in {"accepted", "duplicate"}:
                self.wrong.append(f"a customer's ping was {result}")
            self.acknowledged[result["sequence"]] = result["ping_id"]
        self.waits.append((self.began, time.monotonic() - self.began))
        self.began = None
        await asyncio.sleep(0.1)

    def longest_wait(self, since):
        """Seconds until an upload that was under way then or later was acknowledged; one that is not yet counts too."""
        now = time.monotonic()
        waits = [seconds for began, seconds in self.waits if began + seconds > since]
        return max([*waits, now - self.began if self.began else 0.0])

    async def served(self, seconds):
        """Whether an upload that begins from now on is acknowledged within that time."""
        now = time.monotonic()
        while time.monotonic() < now + seconds:
            if any(began >= now for began, _ in self.waits[-3:]):
                return True
            await asyncio.sleep(0.05)
        return False


async def customers_of(stand):
    fleet = []
    for number in range(4):
        installation = await enrolled(stand.url, stand.product_key)
        stand.never_in_the_log.add(installation.secret.hex())
        fleet.append(Customer(installation, keeps=number % 2 == 0))
    return fleet
