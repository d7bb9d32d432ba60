"""The likelihood ratios of the investigations, and their figures: docs/detection.md.

    python -m bench.detection fit                             ratios.toml from seeds 1 to 10 of the first world,
    python -m bench.detection fit --add --misuse 0 --installations 4000     and more honest owners
    python -m bench.detection report --world second    figures of seeds that were not fitted on

Each fleet is simulated by the command line, in a data directory of its own (TELEMETRY_DATABASE_URL: in that
database). The seeds of a report are never those of the fit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RATIOS = Path(__file__).parent.parent / "telemetry_server" / "investigate" / "ratios.toml"
FITTED = range(1, 11)
REPORTED = range(201, 205)
RATES = (0.01, 0.003, 0.001)
"""The shares of misuse of a report: the fleets have the first, and for the others a part of it is left out."""


class Bench:
    """Fleets in one database, each with its truth."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.environment = os.environ | {"TELEMETRY_DATA": str(self.directory / "data")}
        self.named = []

    def command(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "telemetry_server", *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def simulate(self, world, seed, installations, misuse):
        truth = self.directory / f"{world}-{seed}.json"
        if not truth.exists():
            self._simulate(world, seed, installations, misuse, truth)
        self.named += ["--product", json.loads(truth.read_bytes())["product"], "--truth", truth]

    def _simulate(self, world, seed, installations, misuse, truth):
        self.command(
            *("simulate", "--product", f"{world} {seed}", "--world", world, "--seed", seed),
            *(
                "--installations",
                installations,
                "--misuse",
                misuse,
                "--truth",
                truth,
                "--no-counts",
                "--replace",
            ),
        )


def fit(bench, options):
    for seed in options.seeds or FITTED:
        bench.simulate("first", seed, options.installations, options.misuse)
    bench.command("run", "find suspicions")
    more = ("--add",) if options.add else ()
    bench.command("investigate", "fit", *bench.named, "--to", options.to, *more)


def report(bench, options):
    seeds = options.seeds or REPORTED
    if set(seeds) & set(FITTED) and options.world == "first":
        sys.exit("These seeds were fitted on.")
    for seed in seeds:
        bench.simulate(options.world, seed, options.installations, options.misuse)
    for rate in RATES:
        bench.environment["TELEMETRY_DETECTION_BASE_RATE"] = str(round(rate * 10_000))
        bench.command("run", "find suspicions")
        part = ("--share", rate / options.misuse)
        figures = json.loads(bench.command("investigate", "measure", *bench.named, *part, "--json"))
        print(as_markdown(figures, options, seeds, rate), flush=True)


def share(found):
    if not found["of"]:
        return "– (0)"
    return f"{found['share']:.3f} ({found['true']}/{found['of']}; {found['low']:.3f} to {found['high']:.3f})"


def delay(found):
    if found["median_intervals"] is None:
        return "– (no live clone was found)"
    return f"{found['median_intervals']} ({found['median_days']})"


def stories(found):
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "none"


def as_markdown(figures, options, seeds, rate):
    cases = figures["cases"]
    head = f"{options.world} world, misuse {rate:.1%}, seeds {seeds[0]} to {seeds[-1]}, {options.installations} installations each"
    lines = [
        f"### {head[0].upper()}{head[1:]}",
        "",
        f"{figures['misuses']} misuses, {figures['honest_oddities']} honest oddities.",
        "",
        "| figure | share (counts; 95 % bounds) |",
        "| --- | --- |",
        f"| truly misuse among cases from 0.9 on | {share(cases['precision'])} |",
        f"| misuse found in these | {share(cases['recall'])} |",
        f"| of misuse that lasts 30 days | {share(cases['recall_of_lasting'])} |",
        f"| misuse anywhere in the queue | {share(cases['recall_in_queue'])} |",
        f"| truly misuse among the first of the queue | {share(cases['precision_of_first'])} |",
        f"| calibration error | {cases['calibration_error']} |",
        f"| median delay of a live clone, in intervals (days) | {delay(figures['live_clone'])} |",
        "",
        f"Missed: {stories(cases['missed_by_story'])}.",
        f"Missed although it lasts 30 days: {stories(cases['missed_lasting_by_story'])}.",
        f"False alarms from 0.9 on: {stories(cases['false_by_story'])}.",
        "",
        "| says | is |",
        "| --- | --- |",
        *(f"| {row['says']:.3f} | {share(row['is'])} |" for row in cases["calibration"]),
        "",
        "| formula | truly misuse from 0.9 on | found there | calibration error | truly misuse at recall 0.8 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in figures["formulas"].items():
        order = found["precision_at_recall_0.8"]
        lines.append(
            f"| {name} | {share(found['precision'])} | {share(found['recall'])} | {found['calibration_error']}"
            f" | {share(order) if order else 'not reached'} |"
        )
    lines += ["", "| rule | true | false | truly misuse | false alarms |", "| --- | --- | --- | --- | --- |"]
    for rule, found in figures["rules"].items():
        counts = f"{found['true_positives']} | {found['false_positives']}"
        lines.append(
            f"| {rule} | {counts} | {share(found['precision'])} | {stories(found['false_by_story'])} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fit", "report"))
    parser.add_argument("--world", choices=("first", "second"), default="first")
    parser.add_argument("--seeds", type=lambda text: list(map(int, text.split(","))))
    parser.add_argument("--installations", type=int, default=3_000)
    parser.add_argument("--misuse", type=float)
    parser.add_argument("--to", type=Path, default=RATIOS)
    parser.add_argument("--add", action="store_true", help="Add to the counts of the file.")
    parser.add_argument("--directory", help="Where the fleets are kept, and used again.")
    options = parser.parse_args()
    is_fit = options.what == "fit"
    if options.misuse is None:
        options.misuse = 0.1 if is_fit else 0.01
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # PostgreSQL runs as another user if we are root
        bench = Bench(options.directory or temporary)
        (fit if is_fit else report)(bench, options)


if __name__ == "__main__":
    main()
