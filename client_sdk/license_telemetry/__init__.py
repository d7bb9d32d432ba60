"""The client of a license telemetry server: hands over a ping and is forgotten.

    from license_telemetry import Telemetry

    telemetry = Telemetry(endpoint="https://telemetry.example.com", product_key="pk_…", version="7.2.1")
    telemetry.license(status="licensed", key="…", source="marketplace")
    telemetry.feature("invoice.created")

Importing starts nothing and opens nothing. The way of the data: `client` takes it, `pending` gathers
it in memory, `sender` in a background thread turns it into pings (`ping`, `levels`), `outbox` and
`ledger` keep them on disk, `transport` carries them (`wire`), `answers` says what an answer means,
`identity` is who we are to the server.
"""

from .client import Telemetry
from .version import __version__

__all__ = ["Telemetry", "__version__"]
