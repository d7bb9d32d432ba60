"""The commands "geoip …" as processes; tests/enrich has the rest."""

import os
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from patience import patient, wait_until

from telemetry_server.cli.geoip import _about, _cells
from telemetry_server.enrich.places.databases import Database
from telemetry_server.enrich.places.records import DatabaseKind


@pytest.fixture(scope="module")
def country(tmp_path_factory):
    """A country database for 198.51.100.0/24."""
    path = tmp_path_factory.mktemp("geoip") / "mine.mmdb"
    writer = MMDBWriter(6, "DBIP-Country-Lite", ["en"], "test", ipv4_compatible=True)
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": "DE"}})
    writer.to_db_file(str(path))
    return path


def test_a_file_is_installed_and_shown(fresh, country):
    said = fresh("geoip", "install", "--source", country).stdout
    assert said.startswith("country: DB-IP Lite country, built ")
    assert "IP Geolocation by DB-IP" in said
    assert (fresh.data / "geoip" / "country.mmdb").read_bytes() == country.read_bytes()
    status = fresh.json("geoip", "status")
    assert {each["kind"]: each["source"] for each in status["databases"]} == {
        "city": None,
        "country": "DB-IP Lite country",
        "asn": None,
        "hosting": None,
        "hosting list": None,
    }
    assert status["problems"] == []
    assert "not installed" in fresh("geoip", "status").stdout
    assert "Valid: country" in fresh("geoip", "reload").stdout


def test_what_is_no_database_leaves_the_installed_one(fresh, country, tmp_path):
    fresh("geoip", "install", "--source", country)
    (tmp_path / "no.mmdb").write_text("hello")
    assert "no MaxMind database" in fresh.error("geoip", "install", "--source", tmp_path / "no.mmdb")
    assert fresh.json("geoip", "status")["problems"] == []


@contextmanager
def slow_install(fresh, tmp_path):
    """An installation that has begun, and the file it reads on from."""
    source = tmp_path / "slow.mmdb"
    os.mkfifo(source)
    process = fresh.start("geoip", "install", "--source", source, stderr=subprocess.DEVNULL)
    with source.open("wb", buffering=0) as file:
        wait_until(lambda: works(fresh))
        yield process, file
    process.kill()
    process.wait()


def works(fresh):
    return [
        path for path in (fresh.data / "geoip").glob(".*") if path.name.startswith((".install-", ".geoip-"))
    ]


def test_what_a_killed_installation_left_is_removed_by_the_next(fresh, country, tmp_path):
    with slow_install(fresh, tmp_path) as (process, file):
        file.write(b"half of a data")
        process.kill()
        process.wait()
    (fresh.data / "geoip" / ".geoip-left").write_bytes(bytes(1000))
    assert len(works(fresh)) == 2
    fresh("geoip", "install", "--source", country)
    assert works(fresh) == []
    assert fresh.json("geoip", "status")["problems"] == []


def test_an_installation_that_runs_is_left_alone_by_another(fresh, country, tmp_path):
    with slow_install(fresh, tmp_path) as (process, file):
        fresh("geoip", "install", "--source", country)
        (fresh.data / "geoip" / "country.mmdb").unlink()
        file.write(country.read_bytes())
        file.close()
        assert process.wait(patient(30)) == 0
    assert (fresh.data / "geoip" / "country.mmdb").read_bytes() == country.read_bytes()
    assert works(fresh) == []


def test_a_damaged_file_is_told_by_status(fresh):
    (fresh.data / "geoip").mkdir(parents=True)
    (fresh.data / "geoip" / "asn.mmdb").write_text("hello")
    done = fresh("geoip", "status", exit_code=1)
    assert "Problem: asn.mmdb" in done.stderr
    assert "asn.mmdb" in fresh.error("geoip", "reload")


@pytest.mark.parametrize(
    ("source", "exit_code", "words"),
    [
        ("/nowhere/x.mmdb", 1, "/nowhere/x.mmdb: No such file"),
        ("http://example.com/x.mmdb", 1, "is not an https:// address"),
        ("https://user:hunter2@example.com/x.mmdb", 1, "isn't supported"),
        ("https://127.0.0.1:1/x.mmdb", 1, "copy it here"),
    ],
)
def test_a_source_that_does_not_do_is_told(fresh, source, exit_code, words):
    said = fresh.error("geoip", "install", "--source", source, exit_code=exit_code)
    assert words in said
    assert "hunter2" not in said


def test_an_old_database_is_called_old(country):
    database = Database.open(country, DatabaseKind.COUNTRY)
    for days, old in ((90, True), (30, False)):
        database.built_on = datetime.now(UTC).date() - timedelta(days=days)
        assert ("old, run geoip install" in _cells(_about(DatabaseKind.COUNTRY, database))[3]) is old
