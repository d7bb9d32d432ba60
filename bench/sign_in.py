"""Whether the time of a refused sign-in says that an account exists: medians of known and unknown addresses.

python -m bench.sign_in postgresql://…/EMPTY_DATABASE [--tries 200]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg

from telemetry_server.app import create_app
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Role
from telemetry_server.receive.connections import Listener, bind
from telemetry_server.settings import Settings
from telemetry_server.show.access.passwords import PASSWORDS
from telemetry_server.store.access import people
from telemetry_server.store.migrate import migrate


async def measure(dsn, tries):
    connection = await asyncpg.connect(dsn)
    await migrate(connection)
    data = Path(tempfile.mkdtemp(prefix="sign-in-"))
    settings, leaving = Settings(data=data, jobs=False, database_url=dsn), asyncio.Event()
    app = create_app(settings, open_keyring(settings.keyring), dsn, leaving)
    listener, socket = Listener(app, leaving), bind("127.0.0.1", 0)
    await listener.open(socket)
    known = f"{uuid4().hex}@example.com"
    now = datetime.now(UTC)
    secret = await people.invite(connection, known, Role.VIEWER, by="a measurement", now=now)
    hashed = await app[PASSWORDS].hash("seven wet otters sing")
    await people.accept_invitation(connection, secret, "", hashed, now=now)
    url, took = f"http://127.0.0.1:{socket.getsockname()[1]}/sign-in", {True: [], False: []}
    async with aiohttp.ClientSession() as browser:
        for number in range(2 * tries + 10):
            exists = number % 2 == 0
            form = {
                "email": known if exists else f"{uuid4().hex}@example.com",
                "password": "wrong wrong wrong",
            }
            await connection.execute("DELETE FROM sign_in_attempts")  # the limits would stop the measurement
            began = time.perf_counter(), time.process_time()
            async with browser.post(url, data=form) as answer:
                await answer.read()
                assert answer.status == 403, answer.status
            if number >= 10:  # the first ones warm up
                spent = time.perf_counter() - began[0], time.process_time() - began[1]
                took[exists].append(spent)
    await listener.close()
    await connection.close()
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", help="an empty database")
    parser.add_argument("--tries", type=int, default=200, help="of each kind")
    asked = parser.parse_args()
    took = asyncio.run(measure(asked.database, asked.tries))
    for which, words in ((0, "time"), (1, "processor time, with that of the client")):
        print(words)
        medians = []
        for exists in (True, False):
            cuts = [cut * 1e3 for cut in statistics.quantiles([each[which] for each in took[exists]], n=4)]
            medians.append(cuts[1])
            account = "an account" if exists else "no account"
            print(
                f"  {account}: median {cuts[1]:.2f} ms, quartiles {cuts[0]:.2f} and {cuts[2]:.2f} ms, {asked.tries} tries"
            )
        print(f"  difference of the medians: {abs(medians[0] - medians[1]):.2f} ms")


if __name__ == "__main__":
    main()
