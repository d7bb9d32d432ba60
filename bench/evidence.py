"""Writing and checking the evidence of a case: time and memory, for a number of pings (100,000).

python -m bench.evidence [ROWS]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
HERE = (ROOT / "tests", ROOT / "tests" / "investigate", ROOT)


def main() -> None:
    rows = sys.argv[1] if len(sys.argv) > 1 else "100000"
    with tempfile.TemporaryDirectory() as folder:
        for what in ("write", "check"):
            command = [sys.executable, "-m", "bench.evidence", rows, what, f"{folder}/bag"]
            print(
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout, end=""
            )


def _child(rows: int, what: str, bag: Path) -> None:
    sys.path[:0] = map(str, HERE)
    import golden_bags

    began, busy = time.monotonic(), time.process_time()
    if what == "write":
        golden_bags.write_bag(bag, rows=rows)
    else:
        report = golden_bags.verifier().verify(str(bag), golden_bags.KEY)
        assert not report.problems, report.problems
    figures = {
        "what": what,
        "rows": rows,
        "seconds": round(time.monotonic() - began, 2),
        "seconds_of_processor": round(time.process_time() - busy, 2),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mib_of_files": sum(each.stat().st_size for each in bag.rglob("*") if each.is_file()) >> 20,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        _child(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    else:
        main()
