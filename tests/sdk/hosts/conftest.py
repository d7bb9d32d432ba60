"""Which hosts run on which Pythons, and the table of what became of each.

--hosts small   what installs in a moment, on the Python that runs the tests (the default)
--hosts all     every host on every Python from 3.8 to 3.13 here
--hosts-table   the file for the table; `make test-hosts` has it in client_sdk/HOSTS.md
"""

import signal
import sys
from pathlib import Path

import pytest
from environments import INSTALL_SECONDS, environment, pythons, versions
from license_telemetry.testing import FakeServer
from stand import Stand

CURRENT = "{}.{}".format(*sys.version_info)
HERE = Path(__file__).parent
HEAD = """# Hosts

Real hosts, each with 600 requests or tasks, as `make test-hosts` ran them last. *Made* is counted by the host, beside
the SDK: the calls of `feature()` that returned, "to" the calls that began where `kill -9` came in between. *Summed* is
what the server has of them in the end, with the last `license-telemetry send`. Exact: no count was lost, none came
twice, every request was answered in good time, standard error has nothing of ours, the host came to rest.

| host | version | Python | ended | made | summed | verdict |
| --- | --- | --- | --- | --- | --- | --- |
"""


def pytest_generate_tests(metafunc):
    if "version" in metafunc.fixturenames:
        every = metafunc.config.getoption("--hosts") == "all"
        metafunc.parametrize("version", list(pythons()) if every else [CURRENT])


def pytest_collection_modifyitems(config, items):
    if config.getoption("--hosts") == "all":
        for item in items:
            if HERE in item.path.parents and not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(INSTALL_SECONDS + 180))  # the first of a host installs it
        return
    left_out = [i for i in items if HERE in i.path.parents and not i.get_closest_marker("small")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def make_stand(version, server, tmp_path, record_property):
    """Makes the stand of a host: `host` a row of PINS or None for Python alone, `name` and `ends` as in the table."""
    stands = []

    def make(host, name, ends, **options):
        python = environment(version, pythons()[version], host) if host else pythons()[version]
        home = tmp_path / f"stand{len(stands)}"
        home.mkdir()
        stands.append((Stand(python, server, home, **options), name, ends, versions(python, host)))
        return stands[-1][0]

    yield make
    for stand, name, ends, installed in stands:
        stand.close()
        record_property("row", [name, installed, version, ends, stand.made, str(stand.summed().total())])


def reason(report):
    """Why a test failed or was skipped, in a line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    words = crash.message if crash else str(report.longrepr)
    return (
        words.partition("\n")[0].removeprefix("AssertionError: ").removeprefix("Failed: ").rstrip(":")[:120]
    )


def order(row):
    """Python 3.9 before 3.10."""
    host, _installed, version, *more = row
    return host, int(version[2:]), more


class Table:
    """Gathers a row from each test's last report; the process that runs the others writes them down."""

    def __init__(self, path):
        self.path = path
        self.verdicts = {}
        self.rows = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.verdicts[report.nodeid] = "exact" if report.passed else reason(report)
        if report.when == "teardown":
            verdict = self.verdicts.get(report.nodeid, "not run")
            self.rows += [[*row, verdict] for name, row in report.user_properties if name == "row"]

    def pytest_sessionfinish(self):
        if self.rows:
            rows = sorted(self.rows, key=order)
            lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
            self.path.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def pytest_configure(config):
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # in the background of a shell: hosts would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    path = config.getoption("--hosts-table")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(path), "table of hosts")
