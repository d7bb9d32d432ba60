"""docs/capacity.md says what follows from the costs in measured.json, with which `doctor` reckons too."""

from bench import capacity, results
from telemetry_server.cli.doctor.load import costs


def test_the_page_has_the_tables_of_the_costs_that_were_measured(tmp_path):
    page = tmp_path / "capacity.md"
    page.write_bytes(capacity.PAGE.read_bytes())
    results.write("fleet", capacity.fleet_text(costs()), page)
    assert page.read_text() == capacity.PAGE.read_text(), "write it anew: python -m bench.capacity"
