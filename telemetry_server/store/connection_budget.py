"""How many connections to PostgreSQL the server processes open, and how many it allows."""

from telemetry_server.store.database import POOL_SIZE, Connection
from telemetry_server.store.queries import load

SQL = load(__name__)

MOST_EXPORTS = 5
"""Exports at a time, of all people, in one process."""
_JOB_CONNECTIONS = 8


def job_pool_size(workers: int) -> int:
    """Connections for the jobs of one of `workers` processes: each job runs in one of them at a time."""
    return max(2, _JOB_CONNECTIONS // workers)


def connections_wanted(workers: int, lanes: int) -> int:
    """The most connections that so many server processes open; of these, one each for licenses and health."""
    keeper = 1
    return workers * (lanes + 2 + POOL_SIZE + job_pool_size(workers) + MOST_EXPORTS) + keeper


async def connections_allowed(connection: Connection) -> int:
    """The most connections that PostgreSQL lets this role have to this database, beside those of others."""
    allowed: int = await connection.fetchval(SQL["connections_allowed"])
    return allowed


def too_few_connections(allowed: int, workers: int, lanes: int) -> str | None:
    """Why pings and pages would be refused under load, and what to do; None where there are enough."""
    wanted = connections_wanted(workers, lanes)
    if wanted <= allowed:
        return None
    return (
        f"PostgreSQL allows {allowed} connections, and {workers} server processes with {lanes} writer lanes "
        f"open up to {wanted}; beyond it, pings are refused for now. Raise max_connections (and the limit of "
        "the role, if it has one), or lower TELEMETRY_WORKERS or TELEMETRY_WRITER_LANES."
    )
