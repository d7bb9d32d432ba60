"""A Citus cluster on this machine: a coordinator and workers, each a PostgreSQL in a temporary directory.

    python tests/citus_nodes.py DIR     starts one, prints the DSN for --citus, and stops it at Ctrl-C

DIR has the programs of a PostgreSQL that has Citus installed. The nodes listen on loopback.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
from places import as_database_user, quick_directory

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_preload_libraries": "citus",
    "max_connections": "300",
    "max_prepared_transactions": "300",
    "wal_level": "logical",
    # A table is copied by logical replication, and each database of Citus has a worker of its own.
    "max_worker_processes": "100",
    "max_logical_replication_workers": "40",
    "max_replication_slots": "40",
    "max_wal_senders": "40",
    "jit": "off",
    "citus.enable_statistics_collection": "off",
    "citus.node_conninfo": "sslmode=disable",
}


class Node:
    """One PostgreSQL of a cluster, which can be stopped and killed."""

    def __init__(self, programs, home, **settings):
        self.programs, self.home = programs, home
        self.port = _free_port()
        self.settings = SETTINGS | {"unix_socket_directories": str(home), "port": str(self.port)} | settings

    def run(self, program, *arguments):
        command = [self.programs / program, *arguments]
        log = self.home.parent / f"{self.home.name}.tools.log"
        environment = os.environ | {"HOME": str(self.home)}  # where the nodes look for certificates
        with log.open("ab") as said:
            subprocess.run(
                command,
                check=True,
                stdout=said,
                stderr=said,
                cwd=self.home,
                env=environment,
                **as_database_user(),
            )

    def make(self):
        self.home.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.home, "nobody", "nogroup")
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.run("initdb", "-D", self.home / "data", *options)
        with (self.home / "data" / "postgresql.conf").open("a") as written:
            written.writelines(f"{name} = '{value}'\n" for name, value in self.settings.items())
            if self._knows("output_plugin_libraries"):  # newer minor versions ask which ones are allowed
                written.write("output_plugin_libraries = 'pgoutput, citus'\n")

    def _knows(self, setting):
        described = subprocess.run(
            [self.programs / "postgres", "--describe-config"],
            capture_output=True,
            text=True,
            check=True,
            **as_database_user(),
        )
        return re.search(rf"^{setting}\t", described.stdout, re.MULTILINE)

    def start(self):
        self.run("pg_ctl", "-D", self.home / "data", "-l", self.home / "log", "-w", "-t", "60", "start")

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.home / "data", "-m", mode, "-w", "stop")

    def kill(self):
        """As a power failure ends it: all its processes at once."""
        postmaster = int((self.home / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)  # the others notice at once
        while _runs(postmaster):
            pass

    @property
    def runs(self):
        process = self.home / "data" / "postmaster.pid"
        return process.exists() and _runs(int(process.read_text().split()[0]))

    def dsn(self, database="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


class Nodes:
    """The nodes of a cluster: the coordinator first."""

    def __init__(self, programs, workers=2, home=None, **settings):
        self.home = home or quick_directory()
        self.nodes = [
            Node(Path(programs), self.home / f"node{number}", **settings) for number in range(workers + 1)
        ]

    @property
    def coordinator(self):
        return self.nodes[0]

    @property
    def dsn(self):
        return self.coordinator.dsn()

    def start(self):
        for node in self.nodes:
            node.make()
            node.start()
        asyncio.run(self.join())
        return self

    async def join(self, database="postgres"):
        """Makes the nodes know each other in this database."""
        for node in self.nodes:
            await _execute(node.dsn(database), "CREATE EXTENSION IF NOT EXISTS citus")
        await _execute(
            self.coordinator.dsn(database),
            f"SELECT citus_set_coordinator_host('127.0.0.1', {self.coordinator.port})",
            *(f"SELECT citus_add_node('127.0.0.1', {node.port})" for node in self.nodes[1:]),
        )

    def close(self):
        for node in self.nodes:
            if node.runs:
                node.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)


async def _execute(dsn, *statements):
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    nodes = Nodes(sys.argv[1])
    try:
        nodes.start()
        print(nodes.dsn, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        nodes.close()
