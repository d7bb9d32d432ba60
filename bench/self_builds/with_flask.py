"""What is built in an afternoon: Flask, a pool of connections, and two upserts for each ping.

It keeps what an installation is now and what it did on each day; no ping, no signature, no place.
"""

import os
import re
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
from flask import Flask, request
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

TABLES = """
CREATE TABLE IF NOT EXISTS flask_installations (
    installation_id uuid PRIMARY KEY, first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL, version text,
    license jsonb, os jsonb, virtualization jsonb, address inet
);
CREATE TABLE IF NOT EXISTS flask_days (
    installation_id uuid, day date, pings integer NOT NULL, features jsonb, PRIMARY KEY (installation_id, day)
)
"""
INSTALLATION = """
INSERT INTO flask_installations VALUES (%(id)s, %(now)s, %(now)s, %(version)s, %(license)s, %(os)s, %(vm)s, %(address)s)
ON CONFLICT (installation_id) DO UPDATE SET last_seen = excluded.last_seen, version = excluded.version,
    license = excluded.license, os = excluded.os, virtualization = excluded.virtualization, address = excluded.address
"""
DAY = """
INSERT INTO flask_days VALUES (%(id)s, %(now)s, 1, %(features)s)
ON CONFLICT (installation_id, day) DO UPDATE SET pings = flask_days.pings + 1, features = excluded.features
"""

with suppress(psycopg.errors.UniqueViolation), psycopg.connect(os.environ["DSN"]) as once:
    once.execute(TABLES)  # two workers start at once
pool = ConnectionPool(os.environ["DSN"], min_size=1, max_size=16, open=True)
app = Flask(__name__)


@app.post("/v1/pings")
def take():
    upload = request.get_json()
    installation = re.search("installation=([0-9a-f-]+)", request.headers["Telemetry-Signature"])[1]
    for ping in upload["pings"]:
        values = {
            "id": installation,
            "now": datetime.now(UTC),
            "version": ping["service"]["version"],
            "license": Jsonb(ping["license"]),
            "os": Jsonb(ping["os"]),
            "vm": Jsonb(ping["virtualization"]),
            "address": request.headers.get("X-Forwarded-For", request.remote_addr),
            "features": Jsonb(ping["usage"]["features"]),
        }
        with pool.connection() as connection:
            connection.execute(INSTALLATION, values)
            connection.execute(DAY, values)
    return {"accepted": len(upload["pings"])}
