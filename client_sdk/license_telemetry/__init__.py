"""The client of a license telemetry server.

    from license_telemetry import Telemetry

    telemetry = Telemetry(endpoint="https://telemetry.example.com", product_key="pk_…", version="7.2.1")
    telemetry.license(status="licensed", key="…", source="marketplace")
    telemetry.feature("invoice.created")

Importing starts nothing and opens nothing. The path of the data: `_client` accepts it, `_counters` keep it in
shared memory, `_background` is the one thread. There `_engine` drives `_collector`, which harvests the
counters (`_harvest`) and makes pings (`_ping`, `_levels`), `_outbox` and `_ledger`, which store them on disk,
and `_uploader`, which sends them (`_transport`, `_connection`, `_wire`) and follows the answer (`_answers`).
"""

from ._client import Telemetry
from ._version import __version__

__all__ = ["Telemetry", "__version__"]
