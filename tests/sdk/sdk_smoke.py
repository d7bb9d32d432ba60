"""Run by every Python the SDK claims to work on; needs nothing but the standard library and the SDK.

python sdk_smoke.py STATE_DIR
"""

import sys

from license_telemetry import Telemetry
from license_telemetry.testing import FakeServer, dropped, recording, status


def main(state_dir):
    with FakeServer() as server:
        options = {"endpoint": server.endpoint, "product_key": server.product_key, "state_dir": state_dir}
        server.next_pings(dropped(), status(422))
        with Telemetry(version="7.2.1", **options) as telemetry:
            telemetry.license(
                status="licensed", key="ABCD-EFGH-7Q2K", source="direct", expires_at="2027-01-31T00:00:00Z"
            )
            for _ in range(1000):
                telemetry.feature("invoice.created")
            assert telemetry.preview()["service"] == {"version": "7.2.1"}
            for _ in range(150):
                telemetry.ping()
            while not telemetry.flush(20):
                pass
            assert telemetry.status()["queued"] == 0, telemetry.status()
        pings = server.pings
        assert [p["sequence"] for p in sorted(pings, key=lambda p: p["sequence"])] == list(
            range(1, len(pings) + 1)
        )
        assert sum(p.get("usage", {}).get("features", {}).get("invoice.created", 0) for p in pings) == 1000
        assert pings[0]["os"]["type"], pings[0]
        assert pings[0]["license"]["expires_at"] == "2027-01-31T00:00:00Z"
    with recording() as recorded:
        telemetry.feature("a")
    assert recorded.features == {"a": 1}
    print("fine", len(pings))


if __name__ == "__main__":
    main(sys.argv[1])
