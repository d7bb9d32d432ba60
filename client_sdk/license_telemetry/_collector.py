"""From counters to pings: counts and statements become sums, claims and numbered pings on disk."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from . import _answers as answers
from . import _ping as pings
from . import _wire as wire
from ._chance import chance
from ._counters import Counters
from ._harvest import Harvest, News
from ._ledger import Ledger
from ._outbox import PATIENCE, Outbox, Spoiled, Unavailable
from ._problems import Problems
from ._settings import DAY, LEVELS, Settings
from ._wakeups import RETRY_SECONDS

HOUR = 3600.0
LONGEST_INTERVAL = 31 * DAY
SPREAD_SECONDS = 300.0  # over which a fleet that starts at one moment reports
FACTS_KEPT_SECONDS = HOUR
GAP_SECONDS = 60.0  # between two pings of one cause: a host may alternate between two claims for ever
HELD, MADE = "held_pings", "made_pings"
MOST_EXIT_TRIES = 2  # in an interval; one to enrol and one to send, where the way is long

Json = Dict[str, Any]
Clock = Callable[[], float]


def jittered(interval: float) -> float:
    """The interval plus or minus ten per cent."""
    return interval * chance.uniform(0.9, 1.1)  #  a schedule, no secret


class Collector:
    """Harvests the counters into the outbox, and makes the heartbeats of the whole installation.

    `look_at` is the time of the next call without news; `send_at` the time to send what it queued; both by
    `ticks`, the monotonic clock. `clock` returns seconds since 1970. A ping of one cause (a claim, a request
    of the host) is made at most every `gap` seconds; earlier ones are held until then.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        harvest: Harvest,
        problems: Problems,
        *,
        clock: Clock,
        ticks: Clock,
        gap: float,
    ) -> None:
        self.settings = settings
        self._gap = gap
        self._outbox = outbox
        self._harvest = harvest
        self._problems = problems
        self._clock = clock
        self._ticks = ticks
        self._known: Json = {}
        self._known_until = 0.0
        self._machine: Optional[str] = None
        self._begun = False
        self._claim: Optional[Json] = None
        self.look_at = 0.0
        self.send_at = ticks() + self._spread()  # left by an earlier process
        self.due = 0.0
        self.leaves = False
        self.may_try_again = True
        self.notices: List[Json] = []  # to be shown
        self.is_off = self.is_locked = False
        self.allowed: Optional[str] = None

    def collect(
        self,
        own: Optional[Counters],
        patience: float = PATIENCE,
        *,
        report: bool = False,
        leaving: bool = False,
    ) -> bool:
        """Writes all counts and statements to disk; returns False if that is impossible now, and nothing is
        lost.

        With `report`, a ping is made for the counts at once. With `leaving`, the process ends; `leaves` says
        afterwards whether to wait for the network.
        """
        now = self._clock()
        if self._ticks() >= self._known_until:
            self._look_around()
        for _ in range(2):
            try:
                with self._outbox.transaction(patience) as ledger:
                    self._enter(ledger, own, now, report=report, leaving=leaving)
            except Spoiled as error:
                self._problems.note(
                    "spoiled", f"the outbox was spoiled ({error}) and set aside: a new installation begins"
                )
                continue
            except Unavailable as error:
                self._problems.note("outbox", f"the outbox can't be written: {error}")
                self.look_at = self._ticks() + PATIENCE
                return False
            self._harvest.clear_leftovers()
            self._begun = True
            self._problems.settle("outbox")
            return True
        self.look_at = self._ticks() + RETRY_SECONDS  # spoiled as soon as it is made: not again at once
        return False

    def _enter(
        self, ledger: Ledger, own: Optional[Counters], now: float, *, report: bool, leaving: bool
    ) -> None:
        self.look_at, self.leaves = self._ticks() + HOUR, False
        is_off_here = self.settings.why_off is not None  # then others send what they counted
        news = self._harvest.take(ledger, own, now, alone=self._outbox.in_memory or is_off_here)
        if self._hear_of_consent(ledger, news, now):  # counts and requests without consent are dropped
            switched_on = max((at for topic, at, _ in news.said if topic == "enabled"), default=0.0)
            said_since = [one for one in news.said if one[0] == "license" or one[1] >= switched_on]
            news = news._replace(counts=news.consented, lost=0, said=said_since)
        self.notices = self._to_show(ledger)
        self.is_off, self.allowed = bool(ledger.get("off")), ledger.get("level")
        self.is_locked = bool(ledger.get("locked"))
        ledger.add("total_ignored", news.ignored)
        if self.is_off or ledger.get("stopped") or is_off_here:
            self.keep_claim(ledger, news)
            return
        if not self._begun or ledger.get("usage_since") is None:
            self._begin(ledger, min([now, *(at for _, at, _ in news.said if at)]))
        if self.level(ledger) == "usage":
            ledger.count(news.counts)
            ledger.lose("unsaved", news.lost)
        self._hear(ledger, news, now)
        self._make_what_was_held(ledger, now, at_once=report)
        if report and ledger.usage():
            self._queue(ledger, "manual", now)
        self._make_what_is_due(ledger, now, leaving=leaving)
        ledger.make_room()
        self.due = min(ledger.get("due", now), now + HOUR * 24 * 31, *_times(ledger, HELD).values())
        self._claim = ledger.get("said")
        self.look_at = min(self._ticks() + max(0.0, self.due - now), self.look_at)

    def _make_what_is_due(self, ledger: Ledger, now: float, *, leaving: bool) -> None:
        interval = ledger.get("interval") or self.settings.interval
        due = ledger.get("due", now)
        if due > now + 1.1 * interval + SPREAD_SECONDS:  # the clock was ahead when it was written
            due = now
        reason = ledger.get("due_reason", "heartbeat")
        if leaving:
            self.leaves = self._may_wait(ledger, now, interval, is_due=now >= due or reason == "start")
        if now >= due or (self.leaves and reason == "start"):
            self._queue(ledger, reason, now)
            self.send_at = self._ticks()

    def _may_wait(self, ledger: Ledger, now: float, interval: float, *, is_due: bool) -> bool:
        """Whether a short-lived program waits for the network: once per interval, and once more if that was
        too short.
        """
        acknowledged = ledger.get("last_acknowledged")
        if acknowledged and abs(now - acknowledged[1]) < 0.9 * interval:
            return False
        if not is_due and not ledger.queued():
            return False
        since, tries = ledger.get("exit_tries", (0.0, 0))
        if not 0 <= now - since < 0.9 * interval:
            since, tries = now, 0
        self.may_try_again = tries + 1 < MOST_EXIT_TRIES
        if tries >= MOST_EXIT_TRIES:
            return False
        ledger.put("exit_tries", [since, tries + 1])
        return True

    # ── consent ─────────────────────────────────────────────────────────────────────────────

    def level(self, ledger: Ledger) -> str:
        """The lowest level that the host, the environment and the outbox allow, and a notice to be shown."""
        return "license" if self._to_show(ledger) else self._lowest(ledger.get("level"))

    def learn_notice(self, ledger: Ledger, content: Any) -> None:
        """Takes over from a good answer whether there is a privacy notice to be shown."""
        ledger.put("notice_due", answers.notices(content))
        self.notices = self._to_show(ledger)

    def notice_was_shown(self, ledger: Ledger, version: str) -> None:
        """Pings name this version from now on, until the host names another one than now."""
        ledger.put("notice_shown", [version, self.settings.notice_version])
        self.notices = self._to_show(ledger)
        self.look_at = self._ticks()

    def _shown(self, ledger: Ledger) -> Optional[str]:
        """The version of the notice that the customer was shown last."""
        version, named = ledger.get("notice_shown") or (None, None)
        return version if version and named == self.settings.notice_version else self.settings.notice_version

    def _to_show(self, ledger: Ledger) -> List[Json]:
        """The notice in force, in its languages; empty if it is the one that was shown."""
        due: List[Json] = ledger.get("notice_due") or []
        return due if due and due[0]["version"] != self._shown(ledger) else []

    def _lowest(self, allowed: Any) -> str:
        levels = (self.settings.level, allowed if allowed in LEVELS else self.settings.level)
        return LEVELS[min(map(LEVELS.index, levels))]

    def _hear_of_consent(self, ledger: Ledger, news: News, now: float) -> bool:
        """Applies statements of consent in order; returns whether it changed, or is withdrawn."""
        changed = bool(ledger.get("off"))
        if news.withdrawn:  # it may have been given again since
            ledger.withdraw("license")
            changed = True
        for topic, at, words in news.said:
            if (
                topic == "enabled"
                and not ledger.get("locked")
                and bool(ledger.get("off")) == (words.get("value") == "yes")
            ):
                self.switch(ledger, on=words.get("value") == "yes")
                changed = True
            elif topic == "level" and words.get("value") in LEVELS and words["value"] != ledger.get("level"):
                ledger.put("level", words["value"])
                ledger.withdraw(words["value"])
                changed = True
            elif topic == "forget":
                ledger.put("forget", {"reason": words.get("reason", ""), "at": at or now})
                self.switch(ledger, on=False)
                changed = True
                ledger.clear()
                self.send_at = self._ticks()
        return changed

    def switch(self, ledger: Ledger, *, on: bool) -> None:
        """Sets the persisted switch. The queued pings are reduced to their claims."""
        ledger.put("off", not on)
        ledger.withdraw("license")

    # ── the start of a process ──────────────────────────────────────────────────────────────

    def _begin(self, ledger: Ledger, now: float) -> None:
        """Reports a new version, a reboot or a new machine soon, but not for a whole fleet at once."""
        if ledger.get("usage_since") is None:
            ledger.put("usage_since", wire.timestamp(now))
        started_as = [self.settings.version, self.settings.build, self._known.get("boot_id")]
        if ledger.get("started_as") != started_as:
            ledger.put("started_as", started_as)
            ledger.put("due", now + self._spread())
            ledger.put("due_reason", "start")
        self._notice_a_move(ledger)

    def _notice_a_move(self, ledger: Ledger) -> None:
        """Detects a copied identity, on a machine not seen before: enrols again as its child.

        Machines seen before stay known, so that a home shared by several does not enrol for ever.
        """
        if self._machine is None:
            return
        seen = ledger.get("machines", [])
        if self._machine in seen:
            return
        if seen and ledger.identity() is not None:
            ledger.put("reenrol", "moved")
        ledger.put("machines", [*seen[-15:], self._machine])

    def _look_around(self) -> None:
        """Collects the facts outside of any transaction."""
        self._known = pings.facts(self._lowest(self.allowed), self.settings.product)
        self._known_until = self._ticks() + FACTS_KEPT_SECONDS
        if not self._begun:
            self._machine = pings.machine(self.settings.product)

    def keep_claim(self, ledger: Ledger, news: News) -> None:
        """Keeps the claim, the present state, even if counts are dropped: the host states it once."""
        for topic, _, words in news.said:
            if topic == "license":
                ledger.put("said", words)
                ledger.put("claim", pings.claim(words))

    # ── what was said ───────────────────────────────────────────────────────────────────────

    def _hear(self, ledger: Ledger, news: News, now: float) -> None:
        wishes: List[float] = []
        for topic, at, words in news.said:
            if topic == "license":
                self._hear_of_license(ledger, at, words, now)
            elif topic == "ping":
                wishes.append(at)
        if wishes:
            self._queue_or_hold(ledger, "manual", min(now, wishes[-1]), now)

    def _hear_of_license(self, ledger: Ledger, at: float, words: Dict[str, str], now: float) -> None:
        claim = pings.claim(words)
        ledger.put("said", words)
        is_reported = claim == ledger.get("reported") or "license" in _times(ledger, HELD)
        if claim == ledger.get("claim") and is_reported:
            return
        ledger.put("claim", claim)
        self._queue_or_hold(ledger, "license", min(now, at or now), now)

    def _queue_or_hold(self, ledger: Ledger, reason: str, at: float, now: float) -> None:
        earliest = _times(ledger, MADE).get(reason, 0.0) + self._gap
        if now < earliest <= now + self._gap:  # farther off: the clock was ahead
            ledger.put(HELD, {**_times(ledger, HELD), reason: earliest})
        else:
            self._make(ledger, reason, at, now)

    def _make_what_was_held(self, ledger: Ledger, now: float, *, at_once: bool) -> None:
        """Makes the held pings: of claims only the newest, and none if the last ping had the same."""
        for reason, earliest in _times(ledger, HELD).items():
            if now < earliest <= now + self._gap and not at_once:
                continue
            if reason == "license" and ledger.get("claim") == ledger.get("reported"):
                _let_go(ledger, reason)
            else:
                self._make(ledger, reason, now, now)

    def _make(self, ledger: Ledger, reason: str, at: float, now: float) -> None:
        _let_go(ledger, reason)
        ledger.put(MADE, {**_times(ledger, MADE), reason: now})
        self._queue(ledger, reason, at)
        spread = self._spread() if reason == "license" else 0.0
        self.send_at = min(self.send_at, self._ticks() + spread)

    def _queue(self, ledger: Ledger, reason: str, at: float) -> None:
        ledger.queue(self._compose(ledger, reason, at))
        ledger.put("reported", ledger.get("claim"))
        ledger.put("due", self._clock() + jittered(ledger.get("interval") or self.settings.interval))
        ledger.put("due_reason", "heartbeat")

    def _compose(self, ledger: Ledger, reason: str, at: float) -> Json:
        return pings.compose(
            self.settings,
            self.level(ledger),
            notice=self._shown(ledger),
            reason=reason,
            at=at,
            license_claim=ledger.get("claim") or pings.NO_CLAIM,
            known=self._known,
            lost=ledger.losses(),
            usage=ledger.usage(),
        )

    def _spread(self) -> float:
        return chance.uniform(0, min(self.settings.interval, SPREAD_SECONDS))  #  a schedule, no secret

    # ── to look at ──────────────────────────────────────────────────────────────────────────

    def known_claim(self) -> Optional[Json]:
        """The last claim in the outbox."""
        return self._claim

    def preview(self, own: Optional[Counters]) -> Json:
        """The next ping, from the disk and the counters. Changes nothing."""
        now = self._clock()
        with self._outbox.look() as ledger:
            news = self._harvest.look(ledger, own, alone=self._outbox.in_memory)
            level, lost, usage = self.level(ledger), ledger.losses(), ledger.usage()
            notice = self._shown(ledger)
            claim = ledger.get("claim") or pings.NO_CLAIM
            reason, sequence = ledger.get("due_reason", "start"), ledger.get("next_sequence", 1)
            usage.setdefault("since", ledger.get("usage_since") or wire.timestamp(now))
        known = pings.facts(level, self.settings.product)
        for topic, _, words in news.said:
            if topic == "license":
                claim, reason = pings.claim(words), "license"
            elif topic == "ping":
                reason = "manual"
        features = usage.setdefault("features", {})
        for name, count in news.counts.items():
            features[name] = features.get(name, 0) + count
        if news.lost:
            lost["unsaved"] = lost.get("unsaved", 0) + news.lost
        ping = pings.compose(
            self.settings,
            level,
            notice=notice,
            reason=reason,
            at=now,
            license_claim=claim,
            known=known,
            lost=lost,
            usage=usage if features else None,
        )
        return {"ping_id": ping.pop("ping_id"), "sequence": sequence, **ping}


def _let_go(ledger: Ledger, reason: str) -> None:
    """Discards the held ping of this cause."""
    held = _times(ledger, HELD)
    if held.pop(reason, None) is not None:
        ledger.put(HELD, held)


def _times(ledger: Ledger, name: str) -> Dict[str, float]:
    """Seconds since 1970 by cause; empty if the value is damaged."""
    found = ledger.get(name)
    known = found.items() if isinstance(found, dict) else ()
    return {reason: at for reason, at in known if isinstance(at, (int, float))}
