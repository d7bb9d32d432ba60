"""The short tier of the hostile day, as `make hostile-day` runs the long one."""

import os
import subprocess
import sys

import pytest
from places import ROOT


@pytest.mark.slow(reason="twenty attacks, one after the other, each with what the server needs to recover")
@pytest.mark.timeout(600)
def test_the_whole_list_of_attacks_holds_with_small_numbers():
    done = subprocess.run(
        [sys.executable, "-m", "hostile_day", "--short"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all acknowledged pings, at the end |" in done.stdout
