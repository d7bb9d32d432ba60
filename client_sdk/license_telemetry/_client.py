"""The public face. Nothing here raises, waits for disk or network, prints, or keeps the host alive."""

from __future__ import annotations

import os
import time

from . import _statements
from ._background import background
from ._counters import LARGEST_COUNT
from ._primitives import is_patched
from ._process_fork import mark as fork_mark
from ._process_fork import notice as notice_fork
from ._settings import LEVELS, SOURCES, STATUSES, Settings, is_name, printable
from ._wakeups import SOON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Callable, Dict, Literal, Optional, Tuple, Type, Union

    from ._background import Background
    from ._engine import Engine

    Level = Literal["license", "system", "usage"]
    Status = Literal["licensed", "trial", "expired", "invalid", "unlicensed"]
    Source = Literal["direct", "reseller", "marketplace", "bundle", "trial", "gift", "unknown"]

PROPERTIES = ("enabled", "level")
CLOSE_SECONDS = 2.0
ANSWER_SECONDS = 2.0
HINT_LENGTH = 4
SHORTEST_HINTED_KEY = 8


class Telemetry:
    """One client of the telemetry server; one for a process is enough, any thread may use it.

    Arguments left out come from the environment (LICENSE_TELEMETRY_ENDPOINT, …_PRODUCT_KEY, …_STATE_DIR,
    …_CA_FILE, …_DEBUG); LICENSE_TELEMETRY_DISABLED=1, LICENSE_TELEMETRY=off, LICENSE_TELEMETRY_LEVEL and
    DO_NOT_TRACK=1 can only lower what is sent.

    endpoint        the server's base URL
    product_key     the product's public key, `pk_<slug>_<random>`
    version, build, environment   of the software that is installed
    product         the product's slug, where the key doesn't carry it
    edition         of the license, where license() doesn't say
    level           the most that may be sent: "license", "system" or "usage"
    state_dir       where the outbox lies; best a directory of the software's own data
    notice_version  the version of the privacy notice the customer was shown
    proxy, ca_file  beside the usual proxy variables and the system's certificates
    enabled         False switches it off
    interval        seconds between heartbeats until the server says otherwise; a day
    debug           True says on standard error what is done and what is wrong
    """

    def __init__(
        self,
        endpoint: Optional[str] = None,
        product_key: Optional[str] = None,
        version: Optional[str] = None,
        *,
        product: Optional[str] = None,
        build: Optional[str] = None,
        environment: Optional[str] = None,
        edition: Optional[str] = None,
        level: Level = "usage",
        state_dir: Union[str, Path, None] = None,
        notice_version: Optional[str] = None,
        proxy: Optional[str] = None,
        ca_file: Union[str, Path, None] = None,
        enabled: Optional[bool] = None,
        interval: Optional[float] = None,
        debug: bool = False,
    ) -> None:
        self._arguments: Dict[str, Any] = {
            "endpoint": endpoint,
            "product_key": product_key,
            "product": product,
            "version": version,
            "build": build,
            "environment": environment,
            "edition": edition,
            "level": level,
            "state_dir": state_dir,
            "notice_version": notice_version,
            "proxy": proxy,
            "ca_file": ca_file,
            "enabled": enabled,
            "interval": interval,
            "debug": debug,
        }
        self._settings = Settings(**self._arguments)
        self._background: Background = background(self._settings)
        self._background.open_client()
        self._is_open = True
        self._said: Any = None
        for kind, text in self._settings.troubles.items():
            self._background.problems.note(kind, text)

    # ── what the host calls ─────────────────────────────────────────────────────────────────

    def feature(self, name: str, count: int = 1) -> None:
        """Count a use of a feature; `name` matches ^[a-z0-9][a-z0-9._-]{0,63}$, 256 names in a process.

        Costs a store into shared memory, which outlives the process.
        """
        try:
            background = self._background
            if not self._is_open or not background.is_counting:
                return
            if not fork_mark[0]:
                notice_fork()
            counters = background.counters or background.open()
            if type(count) is not int or count < 1 or count > LARGEST_COUNT or not counters.knows(name):
                why = why_no_use(name, count)
                if why is not None:
                    self._ignore("feature", why)
                    return
            if counters.add(name, int(count)):
                background.wake()
        except Exception as error:
            self._ignore("feature", repr(error))

    def license(
        self,
        status: Status,
        key: Optional[str] = None,
        source: Optional[Source] = None,
        *,
        source_detail: Optional[str] = None,
        edition: Optional[str] = None,
        expires_at: Union[date, str, None] = None,
    ) -> None:
        """Say which license this copy runs under; a ping leaves when that changed.

        `status`: licensed, trial, expired, invalid or unlicensed. `source`: direct, reseller, marketplace,
        bundle, trial, gift or unknown. The key leaves this process and reaches the disk as a digest only.
        """
        try:
            said = (status, key, source, source_detail, edition, expires_at)
            if said == self._said or not self._may_say():
                return  # hosts may say it with every request
            why = why_no_claim(status, source)
            if why is not None and status not in STATUSES:
                self._ignore("license", why)
                return
            if why is not None:
                self._background.problems.note(f"ignored source {source!r}"[:80], f"license(): {why}")
            words = claim_words(status, source, source_detail, edition or self._settings.edition, expires_at)
            if key and not self._settings.product:
                self._background.do(
                    lambda engine: self._say("license", {**key_words(engine.product(), key), **words})
                )
            else:
                self._say("license", {**key_words(self._settings.product, key), **words})
            self._said = said
        except Exception as error:
            self._ignore("license", repr(error))

    def ping(self) -> None:
        """Report now rather than at the next heartbeat. Returns at once; several that wait are one."""
        try:
            if self._may_say():
                self._say("ping", {})
        except Exception as error:
            self._ignore("ping", repr(error))

    def flush(self, timeout: float = 10.0) -> bool:
        """Send all that was handed over and wait until it is acknowledged; False when that is not in time.

        Tries at once, whatever the schedule says, unless the server itself asked to wait. Counts that no
        ping carries yet get one.
        """
        try:
            return self._may_say() and self._background.flush(max(0.0, float(timeout)))
        except Exception:
            return False

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Write everything to disk, try to send it, and stop. Takes no longer than `timeout` seconds."""
        try:
            if not self._is_open:
                return
            self._is_open = False
            self._background.close_client()
            if self._settings.why_off is None:
                self._background.finish(SOON, max(0.0, float(timeout)))
        except Exception:
            pass

    def forget(self, reason: str = "") -> None:
        """Ask the server to erase what it has of this installation, and switch telemetry off here.

        The request waits in the outbox until the server has acknowledged it. Where telemetry is switched on
        again later, a new installation begins.
        """
        try:
            if self._settings.is_forbidden:
                return self._ignore("forget", str(self._settings.why_off))
            self._background.consent(off=True)
            self._said = None
            self._say("forget", {"reason": printable(reason, 256) or ""})
        except Exception as error:
            self._ignore("forget", repr(error))

    @property
    def enabled(self) -> bool:
        """Whether telemetry is on. Setting it holds for all processes that share the state directory, and is
        kept there; what was counted before it was switched off is never sent.
        """
        return self._is_open and self._settings.why_off is None and not self._background.is_off

    @enabled.setter
    def enabled(self, value: bool) -> None:
        try:
            if self._settings.is_forbidden or not (value or self._settings.why_off is None):
                return  # it is off, and stays so
            if value:
                self._settings.allow()
            if not self._background.is_known_to_be(off=not value):
                self._consent("enabled", "yes" if value else "no", less=not value, off=not value)
            self._background.consent()
        except Exception as error:
            self._ignore("enabled", repr(error))

    @property
    def level(self) -> Level:
        """The most that is sent: the lowest of what host, environment and customer allow.

        Setting it holds for all processes that share the state directory, and is kept there.
        """
        return self._background.level

    @level.setter
    def level(self, value: Level) -> None:
        try:
            if value not in LEVELS:
                self._ignore(
                    "level", f"{value!r} is none of {', '.join(LEVELS)}: the level stays {self.level}"
                )
                return
            before = self.level
            self._settings.set_level(value)
            if self._settings.why_off is None and value != before:
                self._consent("level", value, less=LEVELS.index(value) < LEVELS.index(before), level=value)
            self._background.consent()
        except Exception as error:
            self._ignore("level", repr(error))

    def preview(self) -> Dict[str, Any]:
        """The next ping as it would be sent. Sends nothing, changes nothing."""
        return self._look(lambda engine: engine.preview(), {})

    def status(self) -> Dict[str, Any]:
        """How things stand: identity, queue, last answer, level, losses, what is wrong. Changes nothing."""
        found = self._look(lambda engine: engine.status(), self._background.standing())
        return found if self._is_open else {**found, "enabled": False, "why_off": "closed"}

    def export(self, path: Union[str, Path]) -> int:
        """Write everything queued as signed uploads into a JSON-lines file for a machine that may go online.

        Returns how many uploads were written; 0 also where it could not be done. The pings stay queued
        until the server acknowledges them.
        """
        try:
            file = os.fsdecode(path)
            return int(self._background.answer(lambda engine: engine.export(file), CLOSE_SECONDS))
        except Exception as error:
            self._ignore("export", str(error))
            return 0

    def __enter__(self) -> Telemetry:  # noqa: PYI034  Self came with Python 3.11
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __reduce__(self) -> Tuple[Callable[..., Telemetry], Tuple[Dict[str, Any]]]:
        """Pickled or copied it becomes a client of the same settings."""
        return _remade, (self._arguments,)

    # ── behind it ───────────────────────────────────────────────────────────────────────────

    def _may_say(self) -> bool:
        notice_fork()
        if is_patched():  # a handler of the host's may wait on its hub, and only the host's threads have one
            self._background.problems.log()
        return self._is_open and self._settings.why_off is None and not self._background.is_off

    def _consent(self, topic: str, value: str, *, less: bool, **allowed: Any) -> None:
        """Where `less` is allowed, what was counted before is forgone; else only what was counted without."""
        notice_fork()
        background = self._background
        (background.counters or background.open()).forgo(for_good=less)
        background.consent(**allowed)
        self._said = None
        self._say(topic, {"value": value})

    def _say(self, topic: str, words: Dict[str, Optional[str]]) -> None:
        notice_fork()
        counters = self._background.counters or self._background.open()
        counters.say(topic, _statements.write(time.time(), words))
        self._background.wake()

    def _ignore(self, call: str, why: str) -> None:
        """Count a call that is of no use, with its reason."""
        try:
            notice_fork()
            if self._settings.why_off is None:
                (self._background.counters or self._background.open()).ignore()
            what = call if call in PROPERTIES else f"{call}()"
            self._background.problems.note(f"ignored {call} {why[:80]}", f"{what} was ignored: {why}")
        except Exception:
            pass

    def _look(self, work: Callable[[Engine], Any], otherwise: Dict[str, Any]) -> Dict[str, Any]:
        try:
            return dict(self._background.answer(work, ANSWER_SECONDS))
        except Exception as error:
            return {**otherwise, "error": str(error) or type(error).__name__}


def _remade(arguments: Dict[str, Any]) -> Telemetry:
    return Telemetry(**arguments)


def why_no_use(name: object, count: object) -> Optional[str]:
    if not is_name(name):
        return f"{name!r} is no name: it must match ^[a-z0-9][a-z0-9._-]{{0,63}}$"
    if not isinstance(count, int) or not 0 < count <= LARGEST_COUNT:
        return f"{count!r} is no count: it must be a whole number from 1 on"
    return None


def why_no_claim(status: object, source: object) -> Optional[str]:
    """What of license()'s arguments is ignored, in words; None when nothing is."""
    if status not in STATUSES:
        words = ", ".join(STATUSES)
        return f"that is no status: it must be one of {words}"  # not quoted: it may be a key
    if source is not None and source not in SOURCES:
        return f"the source {source!r} is none of {', '.join(SOURCES)}: it is sent as unknown"
    return None


def claim_words(
    status: str, source: object, source_detail: object, edition: object, expires_at: Any
) -> Dict[str, Optional[str]]:
    """What a claim is kept as until a ping is made of it."""
    when = expires_at if isinstance(expires_at, str) else getattr(expires_at, "isoformat", lambda: None)()
    return {
        "status": status,
        "source": source if source is None or source in SOURCES else "unknown",
        "source_detail": printable(source_detail, 256),
        "edition": printable(edition, 64),
        "expires_at": printable(when, 64),
    }


def key_words(product: Optional[str], key: object) -> Dict[str, Optional[str]]:
    """What stands for the license key: the last characters of a long one, and its digest where the product is
    known. The key itself goes no further.
    """
    bare = key.strip() if isinstance(key, str) else ""
    if not bare:
        return {}
    hint = printable(bare[-HINT_LENGTH:], HINT_LENGTH) if len(bare) >= SHORTEST_HINTED_KEY else None
    if not product:
        return {"key_hint": hint}
    from ._sha256 import license_key_digest  # noqa: PLC0415  most calls come without a key

    return {"key_hint": hint, "key_digest": license_key_digest(product, bare)}
