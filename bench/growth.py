"""The measurements at size as text: tables, the aims that were reached, and what dominates."""

import math

from rich.console import Console
from rich.markdown import Markdown

from bench import results
from bench.asking import all_of
from bench.beside import SECONDS, WINDOWS, ratio
from bench.questions import AIM_DAY_SECONDS, AIM_EXPORT_ROWS, AIM_INGEST, AIM_MS, OF_A_DAY, WIDE_EXPORTS

GIB = 2**30


def show(measured):
    Console().print(Markdown(text("", measured)))


def text(command, measured):
    """The section of RESULTS.md; the last of `measured` is the largest."""
    largest = measured[-1]
    head = (
        f"## At size\n\n`{command}`\n\n{results.machine()}\n\nThe fleet is simulated (`telemetry-server simulate`). "
        "Client, server and PostgreSQL (the embedded one, with its own settings) share the cores. One connection "
        "asks, one question after the other, 40 times each with different values, after three times that do not "
        "count. A first ask is the first of its question since the server and its PostgreSQL were started: the starts "
        "begin with different questions."
    )
    parts = [
        head,
        aims(largest),
        f"### Growth\n\n{curve(measured)}\n\n{dominant(measured)}",
        f"### Each question, at {largest.installations:,} installations\n\n{questions(largest)}",
        f"### Exports, at {largest.installations:,} installations\n\n{exports(largest)}",
        f"### On disk, at {largest.installations:,} installations\n\n{disk(largest)}",
    ]
    return "\n\n".join(parts)


def aims(found):
    worst = max(found.asked, key=lambda asked: asked.p95)
    slow = [asked for asked in found.asked if not asked.p95 < AIM_MS or asked.refused]
    day = of_a_day(found)
    rate = min(rate for name, rate in found.rows_a_second.items() if name not in dict(WIDE_EXPORTS))
    rows = [
        (
            "slowest question, p95",
            f"{worst.p95:.0f} ms ({worst.name}); {len(slow)} of {len(found.asked)} miss the aim",
            f"< {AIM_MS} ms",
            not slow,
        ),
        (
            f"roll-up of a day of {found.pings_of_day:,} pings, from nothing",
            f"{day:.1f} s (" + ", ".join(f"{job} {s:.1f}" for job, s in found.day_seconds.items()) + ")",
            f"< {AIM_DAY_SECONDS} s",
            bool(found.day_seconds) and day < AIM_DAY_SECONDS,
        ),
        (
            "slowest export of the default columns",
            f"{rate:,.0f} rows a second",
            f"> {AIM_EXPORT_ROWS:,}",
            rate > AIM_EXPORT_ROWS,
        ),
    ]
    if found.asked_first:
        first, slowest = all_of(found.asked_first), max(found.asked_first, key=lambda asked: asked.p50)
        rows.append(
            (
                f"first ask of a question after a start, {len(first.milliseconds)} of them",
                f"p50 {first.p50:.0f}, p95 {first.p95:.0f}, p99 {first.p99:.0f} ms; {slowest.name}: p50 {slowest.p50:.0f}",
                f"p95 < {AIM_MS} ms",
                first.p95 < AIM_MS,
            )
        )
    if found.ingest:
        pairs = ", ".join(
            f"{window.times:.3g} times {beside:,.0f} of {alone:,.0f} ({' and '.join(window.jobs)}: {took:.1f} s)"
            for window, (alone, beside, took) in zip(WINDOWS, found.ingest, strict=True)
        )
        rows.append(
            (
                "ingest beside roll-ups, of ingest alone",
                f"{ratio(found.ingest):.2f} [received a second, in windows of {SECONDS} s: {pairs}]",
                f"≥ {AIM_INGEST}",
                ratio(found.ingest) >= AIM_INGEST,
            )
        )
    return table(
        ("measured", "figure", "aim", "reached"), [(*row[:3], "yes" if row[3] else "no") for row in rows]
    )


def of_a_day(found):
    return sum(found.day_seconds[job] for job in OF_A_DAY)


def curve(measured):
    """A column for each size."""
    heads = ("", *(f"{found.installations:,}" for found in measured))
    lines = [
        ("pings", *(f"{found.pings:,}" for found in measured)),
        ("load of the machine before", *(f"{found.load_before:.1f}" for found in measured)),
        ("simulate, s", *(f"{found.simulate_seconds:.0f}" for found in measured)),
        ("on disk, GiB", *(f"{sum(found.bytes_by_table.values()) / GIB:.1f}" for found in measured)),
        ("roll-up of all days, s", *(f"{sum(found.roll_up_seconds.values()):.0f}" for found in measured)),
        ("roll-up of a day, s", *(f"{of_a_day(found):.1f}" for found in measured)),
        (
            "ingest beside roll-ups, of alone",
            *(f"{ratio(found.ingest):.2f}" if found.ingest else "" for found in measured),
        ),
    ]
    slowest = sorted(measured[-1].asked, key=lambda asked: -asked.p95)[:8]
    for asked in slowest:
        each = [next(other for other in found.asked if other.name == asked.name) for found in measured]
        lines.append((f"{asked.name}, p95 ms", *(f"{other.p95:.0f}" for other in each)))
    return table(heads, lines)


def dominant(measured):
    """In words: the slowest query, the largest growth, the largest tables."""
    small, large = measured[0], measured[-1]
    worst = max(large.asked, key=lambda asked: asked.p95)
    biggest, size = next(iter(large.bytes_by_table.items()))
    said = [
        f"Slowest is “{worst.name}” with {worst.p95:.0f} ms.",
        f"{size / sum(large.bytes_by_table.values()):.0%} of the disk is {biggest}.",
    ]
    if large.roll_up_seconds:
        job, seconds = max(large.roll_up_seconds.items(), key=lambda item: item[1])
        said.append(f"Of the roll-up of all days, “{job}” takes {seconds:.0f} s.")
    before = {asked.name: asked for asked in small.asked}
    grown = [(asked.p95 / before[asked.name].p95, asked) for asked in large.asked if asked.name in before]
    if large is not small and grown:
        times = large.installations / small.installations
        factor, asked = max(grown, key=lambda pair: pair[0])
        flat = sum(factor < 2 for factor, _ in grown)
        said.append(
            f"From {small.installations:,} to {large.installations:,} installations (×{times:.0f}), “{asked.name}” grows "
            f"most: ×{factor:.1f} (n^{math.log(factor) / math.log(times):.2f}); {flat} of {len(grown)} questions less "
            "than ×2."
        )
    return " ".join(said)


def questions(found):
    rows, firsts = [], {asked.name: asked for asked in found.asked_first}
    for asked in found.asked:
        refused = ", ".join(f"{count} × {status}" for status, count in asked.refused.items())
        first = firsts.get(asked.name)
        first_asks = (f"{first.p50:.1f}", f"{first.p99:.1f}") if first else ("", "")
        rows.append((asked.name, f"{asked.p50:.1f}", f"{asked.p95:.1f}", *first_asks, refused))
    heads = ("question", "p50 ms", "p95 ms", "first ask, p50 ms", "first ask, p99 ms", "refused")
    return table(heads, rows)


def exports(found):
    rows = [(name, f"{rate:,.0f}") for name, rate in found.rows_a_second.items()]
    return table(("export", "rows a second"), rows)


def disk(found):
    whole = sum(found.bytes_by_table.values())
    rows = [
        (name, f"{size / GIB:.2f}", f"{size / whole:.0%}")
        for name, size in found.bytes_by_table.items()
        if size > whole / 1000
    ]
    return table(("table, with its indexes", "GiB", "share"), rows)


def table(heads, rows):
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
