"""What was put in place is there after a power cut: on real file systems, whose disk is copied at that moment."""

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import asyncpg
import pytest
from disk_images import MAKE, make_disk
from installation import Installation
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from patience import patient
from places import ROOT, quick_directory

from telemetry_server import durable
from telemetry_server.enrich.places.fetch import install
from telemetry_server.keyring import open_keyring, read_keyring, rotate
from telemetry_server.store.embedded.account import Account
from telemetry_server.store.embedded.home import LOG_BYTES, Home

OLD, NEW = b"what was there before " * 1000, b"what has taken its place " * 1000


@pytest.fixture(scope="module", params=MAKE)
def disk(request):
    """One for all tests of its kind; each test has a directory in it."""
    folder = quick_directory()
    disk = make_disk(request.param, folder)
    yield disk
    disk.unmount()
    shutil.rmtree(folder)


@pytest.fixture
def folder(disk):
    folder = Path(tempfile.mkdtemp(dir=disk.place))  # short enough for a socket
    folder.chmod(0o755)
    return folder


# ── each way to put a file in place ─────────────────────────────────────────────────────────


class Placing:
    """`before` makes what is there, `act` puts something else in its place, `kept` says whether that is there."""

    def before(self, folder):
        pass


class NewKeyring(Placing):
    def act(self, folder):
        open_keyring(folder / "keyring.json")

    def kept(self, folder):
        return (folder / "keyring.json").exists() and read_keyring(folder / "keyring.json").current == "k1"


class NewKeyringInNewDirectories(Placing):
    def act(self, folder):
        open_keyring(folder / "srv" / "telemetry" / "keyring.json")

    def kept(self, folder):
        return (folder / "srv" / "telemetry" / "keyring.json").exists()


class RotatedKeyring(Placing):
    def before(self, folder):
        open_keyring(folder / "keyring.json")

    def act(self, folder):
        rotate(folder / "keyring.json")

    def kept(self, folder):
        return read_keyring(folder / "keyring.json").current == "k2"


class Written(Placing):
    def before(self, folder):
        durable.write(folder / "pg_hba.conf", OLD)

    def act(self, folder):
        durable.write(folder / "pg_hba.conf", NEW)

    def kept(self, folder):
        return (folder / "pg_hba.conf").read_bytes() == NEW


class Exported(Placing):
    def act(self, folder):
        with durable.whole(folder / "export.ndjson") as part, part.open("wb") as file:
            file.write(NEW)

    def kept(self, folder):
        return (folder / "export.ndjson").exists() and (folder / "export.ndjson").read_bytes() == NEW


class CopiedPrograms(Placing):
    """As the embedded PostgreSQL's programs are, for a user who cannot enter our environment."""

    def act(self, folder):
        for name in ("bin/postgres", "lib/libpq.so"):
            file = folder / "postgresql.new" / name
            file.parent.mkdir(parents=True)
            file.write_bytes(NEW)
        durable.put_in_place(folder / "postgresql.new", folder / "postgresql")

    def kept(self, folder):
        files = [folder / "postgresql" / name for name in ("bin/postgres", "lib/libpq.so")]
        return all(file.exists() and file.read_bytes() == NEW for file in files)


class InstalledPlaces(Placing):
    def act(self, folder):
        install(io.BytesIO(gzip.compress(database_of_countries())), folder / "geoip")

    def kept(self, folder):
        file = folder / "geoip" / "country.mmdb"
        return file.exists() and file.read_bytes() == database_of_countries()


class RotatedLog(Placing):
    def before(self, folder):
        home = Home(folder)
        home.log.write_bytes(b"." * (LOG_BYTES + 1))

    def act(self, folder):
        Home(folder).prepare_start(Account.of(os.geteuid()))

    def kept(self, folder):
        home = Home(folder)
        there = [home.log, home.hba, home.ident, home.log.with_name("postgres.log.1")]
        return all(path.exists() for path in there) and home.log.stat().st_size == 0


@cache
def database_of_countries():
    writer = MMDBWriter(4, "DBIP-Country-Lite")
    writer.insert_network(IPSet(["1.0.0.0/8"]), {"country": {"iso_code": "DE"}})
    with tempfile.NamedTemporaryFile() as file:
        writer.to_db_file(file.name)
        return Path(file.name).read_bytes()


PLACINGS = Placing.__subclasses__()


@pytest.mark.parametrize("placing", PLACINGS, ids=lambda placing: placing.__name__)
def test_what_is_put_in_place_is_there_after_a_power_cut(disk, folder, placing):
    placing().before(folder)
    disk.sync()
    placing().act(folder)
    disk.cut()
    assert placing().kept(folder)


@pytest.mark.parametrize("synced", ["nothing", "files"])
@pytest.mark.parametrize("placing", PLACINGS, ids=lambda placing: placing.__name__)
def test_without_the_syncs_it_would_be_lost(disk, folder, placing, synced, monkeypatch):
    """The control: a test that could not lose anything would prove nothing."""
    really = os.fsync

    def fsync(descriptor):
        if synced == "files" and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            really(descriptor)

    placing().before(folder)
    disk.sync()
    monkeypatch.setattr(os, "fsync", fsync)
    placing().act(folder)
    assert placing().kept(folder)
    disk.cut()
    assert not placing().kept(folder)


# ── the server ──────────────────────────────────────────────────────────────────────────────


async def test_after_the_first_start_and_a_rotation_every_copy_is_known(disk, folder, make_server, tmp_path):
    """The database is elsewhere and loses nothing; the keyring is on the disk whose power fails."""
    disk.sync()
    server = make_server(data=folder / "data", log_to=tmp_path / "server.log")
    first = await Installation.enrolled(server)
    assert (await first.send()).statuses == ["accepted"]
    power_cut(disk, server)
    assert (await first.send()).statuses == ["accepted"]
    server.command("keyring", "rotate")
    power_cut(disk, server)
    second = await Installation.enrolled(server)
    assert (first.key, second.key) == ("k1", "k2")
    assert (await second.send()).statuses == (await first.send()).statuses == ["accepted"]


WITHOUT_SYNCS = """
import os, stat
really = os.fsync
os.fsync = lambda file: None if {lost} else really(file)
"""


@pytest.fixture
def careless_server(make_server, disk, folder, tmp_path, monkeypatch):
    """Makes a server whose Python does not sync what `lost` says of `file`."""

    def make(lost):
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_SYNCS.format(lost=lost))
        with monkeypatch.context() as only_here:
            only_here.setenv("PYTHONPATH", str(tmp_path))
            disk.sync()
            return make_server(data=folder / "data", log_to=tmp_path / "server.log")

    return make


async def test_a_keyring_that_lost_its_name_is_found_by_the_next_start(disk, careless_server, tmp_path):
    server = careless_server("stat.S_ISDIR(os.fstat(file).st_mode)")  # as earlier versions did it
    copy = await Installation.enrolled(server)
    assert (await copy.send()).statuses == ["accepted"]
    power_cut(disk, server)
    assert "keyring taken from the file that a power cut left" in (tmp_path / "server.log").read_text()
    assert (await copy.send()).statuses == ["accepted"]


async def test_without_any_sync_the_keyring_is_lost_and_the_server_says_so(disk, careless_server, tmp_path):
    """The control of the two tests above."""
    server = careless_server("True")
    assert (await (await Installation.enrolled(server)).send()).statuses == ["accepted"]
    with pytest.raises(RuntimeError):
        power_cut(disk, server)
    server.kill()
    assert "There is no keyring" in (tmp_path / "server.log").read_text()


def power_cut(disk, server):
    disk.cut(server.process.pid)
    server.process.wait()
    server._forget()
    server.start()


async def test_an_acknowledged_ping_and_the_embedded_database_are_there_after_the_first_minute(disk, folder):
    folder.chmod(0o755)
    server = Embedded(folder / "data").start()
    installation = await Installation.enrolled(server)
    assert (await installation.send()).statuses == ["accepted"]
    postmaster = int((folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
    disk.cut(server.process.pid, postmaster)
    server.process.wait()
    server.process.stdout.close()
    server.start()
    try:
        installation.url = server.url
        assert (await installation.send()).statuses == ["accepted"]
        connection = await asyncpg.connect(Home(folder / "data").dsn("telemetry", "telemetry"))
        assert await connection.fetchval("SELECT array_agg(sequence ORDER BY sequence) FROM pings") == [1, 2]
        await connection.close()
    finally:
        server.process.terminate()
        server.process.wait(patient(60))
        server.process.stdout.close()


class Embedded:
    """A server with its embedded PostgreSQL."""

    def __init__(self, data):
        self.data = data

    def start(self):
        command = [sys.executable, "-m", "telemetry_server", "serve", "--data", self.data]
        command += ["--listen", "127.0.0.1:0", "--product", "Example"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY_")}
        self.process = subprocess.Popen(
            command,
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
        return self
