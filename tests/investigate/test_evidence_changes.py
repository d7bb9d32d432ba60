"""Each change of a bag is found, and its files are named. EVIDENCE_CHANGES=10000 tries as many as the promise says."""

import itertools
import os
import random
import re
import shutil
from hashlib import sha256

import pytest
from golden_bags import KEY, verifier, write_bag

CHANGES = int(os.environ.get("EVIDENCE_CHANGES", "120"))
TOKEN = b"an answer of an authority; what it stamps is only compared"


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A bag with everything that can be in one, also a time stamp that says what it stamps."""
    path = tmp_path_factory.mktemp("evidence") / "bag"
    write_bag(path, rows=20, timestamp=lambda manifest: TOKEN + sha256(manifest).digest())
    return path


def files_of(bag):
    return sorted(str(path.relative_to(bag)) for path in bag.rglob("*") if path.is_file())


def one_byte(bag, chance):
    """Flips bits of a byte, inserts one or takes one away."""
    name = chance.choice(files_of(bag))
    before = (bag / name).read_bytes()
    at = chance.randrange(len(before))
    flipped = bytes([before[at] ^ chance.randrange(1, 256)])
    after = chance.choice(
        [
            before[:at] + flipped + before[at + 1 :],
            before[:at] + b"x" + before[at:],
            before[:at] + before[at + 1 :],
        ]
    )
    (bag / name).write_bytes(after)
    return {name}, lambda: (bag / name).write_bytes(before)


def addition(bag, chance):
    name = chance.choice(["", "data/", "data/rows/", "data/more/"]) + chance.choice(
        ["x", "pings.ndjson.bak", ".hidden", "manifest-md5.txt", "tagmanifest-sha256.tsr2", "data%0A"]
    )
    (bag / name).parent.mkdir(exist_ok=True)
    chance.choice(
        [
            lambda: (bag / name).write_bytes(b"x"),
            lambda: (bag / name).symlink_to("/etc/hostname"),
            (bag / name).mkdir,
        ]
    )()

    def undo():
        (bag / name).rmdir() if (bag / name).is_dir() and not (bag / name).is_symlink() else (
            bag / name
        ).unlink()
        shutil.rmtree(bag / "data" / "more", ignore_errors=True)

    return {name}, undo


def removal(bag, chance):
    name = chance.choice(files_of(bag))
    before = (bag / name).read_bytes()
    (bag / name).unlink()
    return {name}, lambda: (bag / name).write_bytes(before)


def rename(bag, chance):
    name = chance.choice(files_of(bag))
    to = name + chance.choice(["1", ".txt"]) if chance.random() < 0.7 else name.upper()
    (bag / to).parent.mkdir(exist_ok=True, parents=True)
    (bag / name).rename(bag / to)

    def undo():
        (bag / to).rename(bag / name)
        for folder in "DATA", "data/ROWS":
            shutil.rmtree(bag / folder, ignore_errors=True)

    return {name, to}, undo


def swap(bag, chance):
    return swapped(bag, *chance.sample(files_of(bag), 2))


def swapped(bag, one, other):
    files = {name: (bag / name).read_bytes() for name in (one, other)}
    (bag / one).write_bytes(files[other])
    (bag / other).write_bytes(files[one])
    return set(files), lambda: [(bag / name).write_bytes(content) for name, content in files.items()]


def passed_over(check, bag, count, seed=20261130):
    """The changes that the checker does not find, or of which it names another file."""
    chance = random.Random(seed)
    for number in range(count):
        change = [one_byte, addition, removal, rename, swap][number % 5]
        names, undo = change(bag, chance)
        report = check(str(bag), KEY)
        found = {file for file, _ in report.problems}
        undo()
        if report.exit_code != 2 or not names <= found:
            yield change.__name__, sorted(names), sorted(found)


def test_every_change_is_found_and_named(bag):
    check = verifier().verify
    assert check(str(bag), KEY).problems == []
    assert list(passed_over(check, bag, CHANGES)) == []
    assert check(str(bag), KEY).problems == []


def test_every_two_files_that_are_swapped_are_both_named(bag):
    check = verifier().verify
    for one, other in itertools.combinations(files_of(bag), 2):
        names, undo = swapped(bag, one, other)
        found = {file for file, _ in check(str(bag), KEY).problems}
        undo()
        assert names <= found, (one, other)


@pytest.mark.parametrize("part", ["_digest", "_walk", "_check_note"])
def test_a_checker_that_skips_a_part_is_caught(bag, part, monkeypatch):
    """The control: of a checker that does not look at one file, the test of changes must say so."""
    checker = verifier()
    looked = getattr(checker, part)

    def skips(first, *rest):
        match part, rest:
            case "_digest", ["data/rows/pings.csv"]:
                manifest = (bag / "manifest-sha256.txt").read_text()
                return re.search("(.*)  data/rows/pings.csv", manifest)[1]
            case "_walk", _:
                return [
                    name for name in looked(first, *rest) if not name.startswith("data/rows/pings.ndjson.")
                ]
            case "_check_note", _:
                return first.rpartition("\n\n")[0] + "\n"
        return looked(first, *rest)

    monkeypatch.setattr(checker, part, skips)
    assert next(passed_over(checker.verify, bag, 1_000), None)
