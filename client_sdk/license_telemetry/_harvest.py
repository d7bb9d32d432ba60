"""Harvests the counts and statements of all processes of the host into the outbox, exactly once.

Numbers in counter files only grow. The outbox stores how much of each file was harvested, and harvests the
difference in the same transaction: it does not matter which process harvests a file, how often, or whether
its process still lives. Each file in shared memory has a copy on disk, a few seconds old (`_keeper`), for the
case that the memory is lost: a reboot, a removed container.

For the case that the outbox is lost, each file notes what was harvested of it, right after the commit and
before another process gets its turn. The note is read only if the outbox does not know the file. A copy may
be older than the last harvest: what it has beyond its note may be harvested or not, and is counted as lost.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import _process
from ._counters import LARGEST_COUNT, Counters, kept_directory, shared_directories
from ._ledger import Ledger
from ._leftovers import clear_leftovers, clear_unnamed
from ._locks import try_lock
from ._private_files import SAFELY, is_ours, pwrite
from ._snapshot import SIZE, SUFFIX, TAKEN_WORD, Snapshot, snapshot, taken_block
from ._statements import parse

FOREIGN_SECONDS = 3600.0  # without a change, after which a copy is removed whose process cannot be checked
MOST_FILES = 4096
_READ = os.O_RDONLY | SAFELY

Numbers = Dict[str, int]
Said = Tuple[str, float, Dict[str, str]]


class News(NamedTuple):
    """What was not harvested yet.

    Uses by feature, those of them counted since consent changed if it did, how often it was withdrawn, the
    numbers of lost uses and ignored calls, and the statements in order of time, as (topic, seconds since
    1970, words).
    """

    counts: Numbers
    consented: Numbers
    withdrawn: int
    lost: int
    ignored: int
    said: List[Said]


class Harvest:
    """Harvests all counter files of one state directory; without one, those of this process."""

    def __init__(self, state_dir: Optional[str]) -> None:
        self._shared = shared_directories(state_dir) if state_dir else []
        self._kept = kept_directory(state_dir) if state_dir else None
        self._uncleared = [*self._shared, *([self._kept] if self._kept else [])]
        self._seen: Dict[str, Snapshot] = {}
        self._taken: Dict[str, Numbers] = {}
        self._alone = False

    def take(self, ledger: Ledger, own: Optional[Counters], now: float, *, alone: bool) -> News:
        """Takes the news of all files, effective with the commit of the ledger's transaction.

        `alone`: only the news of this process, because its outbox lives in its memory.
        """
        self._seen, self._taken, self._alone = {}, {}, alone
        outbox, fresh = ledger.outbox_id(), []
        for found in self._snapshots(own, alone=alone):
            if found.outbox not in (0, outbox) and not (own and found.id == own.id):
                continue
            self._seen[found.id] = found
            difference = _not_taken(ledger, found)
            if difference:
                ledger.note_taken(found.id, found.numbers, now)
                self._taken[found.id] = found.numbers
                fresh.append((found, difference))
        if ledger.get("heir"):
            ledger.put("heir", None)
        ledger.forget_files(set(self._seen), now)
        ledger.committed = partial(self._committed, own, outbox)
        return _news(fresh)

    def clear_leftovers(self) -> None:
        """Removes, once per process, what killed processes and deleted state directories left behind."""
        while self._uncleared:
            directory = self._uncleared.pop()
            if is_ours(directory, shared=directory != self._kept):
                clear_unnamed(directory)
            if directory != self._kept:
                clear_leftovers(directory)

    def look(self, ledger: Ledger, own: Optional[Counters], *, alone: bool) -> News:
        """The news, without harvesting it."""
        known = (0, ledger.get("outbox_id", 0))
        snapshots = [found for found in self._snapshots(own, alone=alone) if found.outbox in known]
        return _news([(found, _not_taken(ledger, found)) for found in snapshots])

    def _committed(self, own: Optional[Counters], outbox: int) -> None:
        """Notes the harvest in the files, and removes those of processes that have ended."""
        if own is not None and own.id in self._seen:
            own.belong_to(outbox, self._taken.get(own.id))  # not before: another outbox may follow
        if self._alone:
            return
        for directory in (*self._shared, self._kept):
            for name in self._files(directory):
                found = self._seen.get(name[: -len(SUFFIX)])
                if own is not None and name == own.id + SUFFIX:
                    continue
                path = os.path.join(str(directory), name)
                original = directory != self._kept or (found is not None and found.is_original)
                if found is not None and found.id in self._taken and original:
                    _note_taken(path, self._taken[found.id])
                by_lock = directory != self._kept or (original and sys.platform == "win32")
                _remove_if_dead(path, found, by_lock=by_lock)

    def _files(self, directory: Optional[str]) -> List[str]:
        """The counter files in a directory; none if it belongs to another user, or is writable for others."""
        if directory is None or not is_ours(directory, shared=directory != self._kept):
            return []
        try:
            names = os.listdir(directory)
        except OSError:
            return []
        return [name for name in names if name.endswith(SUFFIX)][:MOST_FILES]

    def _snapshots(self, own: Optional[Counters], *, alone: bool) -> Iterator[Snapshot]:
        """Each file once: the own one, those in shared memory, and copies of those no longer there."""
        met = set()
        if own is not None:
            met.add(own.id)
            mine = own.snapshot()
            mine.is_original = True
            yield mine
        if alone:
            return
        for directory in (*self._shared, self._kept):
            for name in self._files(directory):
                found = _read(os.path.join(str(directory), name))
                if found is None or found.id in met:
                    continue
                if directory != self._kept and not found.outbox and not _process.is_near(found.process):
                    continue  # of another container, which will name its outbox
                met.add(found.id)
                found.is_original |= directory != self._kept
                yield found


def _read(path: str) -> Optional[Snapshot]:
    """The content of a file: of two reads the smaller numbers, in case a word was half written."""
    try:
        descriptor = os.open(path, _READ)
        try:
            first = os.read(descriptor, SIZE + 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
            second = os.read(descriptor, SIZE + 1)
        finally:
            os.close(descriptor)
        name = os.path.basename(path)[: -len(SUFFIX)]
        found, again = snapshot(first, name), snapshot(second, name)
    except (OSError, ValueError):
        return None
    found.numbers = {key: min(value, again.numbers.get(key, 0)) for key, value in found.numbers.items()}
    return found


def _is_barred(ledger: Ledger) -> bool:
    """Whether the outbox allowed no counts until now."""
    return bool(ledger.get("off")) or ledger.get("level") in ("license", "system")


def _not_taken(ledger: Ledger, found: Snapshot) -> Numbers:
    """The new part of each number that has one."""
    taken, barred = ledger.taken(found.id), _is_barred(ledger)
    if taken is not None:
        return _difference(found, taken, barred=barred)
    noted = {name: count for name, count in found.taken.items() if name != "license"}  # is reported again
    difference = _difference(found, noted, barred=barred)
    if found.is_original or not ledger.get("heir"):
        return difference
    counts = [difference.pop(name) for name in list(difference) if name.startswith("+")]
    return {**difference, "lost": difference.get("lost", 0) + sum(counts)} if counts else difference


def _difference(found: Snapshot, taken: Numbers, *, barred: bool) -> Numbers:
    news = {}
    for name, count in found.numbers.items():
        before = max(taken.get(name, 0), found.forgone.get(name, 0))
        if barred:
            before = max(before, found.regained.get(name, 0))
        if count > before:
            news[name] = min(count - before, LARGEST_COUNT)
    return news


def _news(fresh: List[Tuple[Snapshot, Numbers]]) -> News:
    counts: Numbers = {}
    consented: Numbers = {}
    said: List[Said] = []
    withdrawn = 0
    for found, difference in fresh:
        withdrawn += difference.get("withdrawn", 0)
        spoke = "withdrawn" in difference or "enabled" in difference or "level" in difference
        for name, count in difference.items():
            if name.startswith("+"):
                for sums in (counts, consented) if spoke else (counts,):
                    sums[name[1:]] = sums.get(name[1:], 0) + count
            elif name in found.said:
                said.append((name, *parse(found.said[name])))
    lost, ignored = (sum(difference.get(name, 0) for _, difference in fresh) for name in ("lost", "ignored"))
    return News(counts, consented, withdrawn, lost, ignored, sorted(said, key=lambda one: one[1]))


def _note_taken(path: str, numbers: Numbers) -> None:
    """Notes the harvest in the file of another process."""
    try:
        descriptor = os.open(path, os.O_WRONLY | SAFELY)
        try:
            if os.fstat(descriptor).st_size == SIZE:
                pwrite(descriptor, taken_block(numbers), TAKEN_WORD * 8)
        finally:
            os.close(descriptor)
    except OSError:
        pass  # the outbox knows


def _remove_if_dead(path: str, seen: Optional[Snapshot], *, by_lock: bool) -> None:
    """Removes the file under its lock, so that no process adopts it meanwhile, if it is unchanged since.

    `by_lock`: a living process would hold the lock; else the process is checked, and a copy may be of another
    machine.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return
    try:
        if not try_lock(descriptor):
            return
        old = time.time() - os.fstat(descriptor).st_mtime > FOREIGN_SECONDS
        found = _read(path)
        if found is None:  # no counter file, or one that is just being made
            dead = old
        elif seen is None:  # of another outbox
            dead = old and not _process.is_near(found.process)
        else:
            gone = by_lock or _process.is_gone(found.process) or (old and not _process.is_near(found.process))
            dead = gone and seen.numbers == found.numbers
        if dead and sys.platform != "win32":
            os.unlink(path)
    except OSError:
        return
    finally:
        os.close(descriptor)
    if dead and sys.platform == "win32":  # only now it can be; no process there goes on with a file
        try:
            os.unlink(path)
        except OSError:
            pass
