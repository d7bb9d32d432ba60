"""How many connections to PostgreSQL the server processes open, and how many it allows."""

from telemetry_server.store.database import POOL_SIZE, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_EXPORTS = 5
"""Concurrent exports in one process, of all users together."""
_JOB_CONNECTIONS = 8


def job_pool_size(workers: int) -> int:
    """Connections for the jobs of one of `workers` processes. A job runs in one process at a time."""
    return max(2, _JOB_CONNECTIONS // workers)


def connections_wanted(workers: int, lanes: int) -> int:
    """The most connections that `workers` server processes with `lanes` writer lanes each open."""
    licenses, health, keeper = 1, 1, 1
    each = lanes + licenses + health + POOL_SIZE + job_pool_size(workers) + MOST_EXPORTS
    return workers * each + keeper


async def connections_allowed(connection: Connection) -> int:
    """The most connections to this database that PostgreSQL allows this role."""
    return int(await connection.fetchval(SQL["connections_allowed"]))


def too_few_connections(allowed: int, workers: int, lanes: int) -> str | None:
    """Why pings and pages would be refused under load, and what to do; None where `allowed` is enough."""
    wanted = connections_wanted(workers, lanes)
    if wanted <= allowed:
        return None
    return (
        f"PostgreSQL allows {allowed} connections, and {workers} server processes with {lanes} writer lanes "
        f"open up to {wanted}; beyond it, pings are refused for now. Raise max_connections (and the limit of "
        "the role, if it has one), or lower TELEMETRY_WORKERS or TELEMETRY_WRITER_LANES."
    )
