"""The public interface. Nothing here raises, waits for disk or network, prints, or keeps the host alive."""

from __future__ import annotations

import os

from ._background import background
from ._claims import claim_words, why_left_out, why_no_status
from ._counters import LARGEST_COUNT
from ._primitives import is_patched
from ._process_fork import mark as fork_mark
from ._process_fork import notice as notice_fork
from ._settings import LEVELS, Settings, is_name, printable
from ._wakeups import SOON
from ._worker import ANSWER_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Callable, Dict, List, Literal, Optional, Tuple, Type, Union

    from ._background import Background
    from ._engine import Engine
    from ._settings import Level

    Status = Literal["licensed", "trial", "expired", "invalid", "unlicensed"]
    Source = Literal["direct", "reseller", "marketplace", "bundle", "trial", "gift", "unknown"]

PROPERTIES = ("enabled", "level")
CLOSE_SECONDS = 2.0


class Telemetry:
    """A client of the telemetry server. One per process is enough; it is thread-safe.

    Omitted arguments come from the environment (LICENSE_TELEMETRY_ENDPOINT, …_PRODUCT_KEY, …_STATE_DIR,
    …_CA_FILE, …_DEBUG); LICENSE_TELEMETRY_DISABLED=1, LICENSE_TELEMETRY=off, LICENSE_TELEMETRY_LEVEL and
    DO_NOT_TRACK=1 can only lower what is sent.

    endpoint        the server's base URL
    product_key     the product's public key, `pk_<slug>_<random>`
    version, build, environment   of the installed software
    product         the product's slug, if the key doesn't contain it
    edition         of the license, if license() has none
    level           the most that may be sent: "license", "system" or "usage"
    state_dir       the directory of the outbox, best within the software's data
    notice_version  the version of the privacy notice the customer was shown
    on_notice       called in the background with the notice of the server, a list of {version, url, sha256,
                    language, valid_from}, if that is another version. Until it was, nothing above "license"
                    is sent. It returns False if the notice was not shown yet
    proxy, ca_file  beside the usual proxy variables and the system's certificates
    enabled         False switches it off
    interval        seconds between heartbeats until the server asks for another interval; a day
    support_root    the public root key of the vendor's support team, for support_grant()
    debug           True logs actions and problems to standard error
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
        on_notice: Optional[Callable[[List[Dict[str, Any]]], Any]] = None,
        proxy: Optional[str] = None,
        ca_file: Union[str, Path, None] = None,
        enabled: Optional[bool] = None,
        interval: Optional[float] = None,
        support_root: Optional[str] = None,
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
            "support_root": support_root,
            "debug": debug,
        }
        self._settings = Settings(**self._arguments)
        self._background: Background = background(self._settings)
        self._background.open_client(self._settings, on_notice)
        self._is_open = True
        for kind, text in self._settings.troubles.items():
            self._background.problems.note(kind, text)

    # ── what the host calls ─────────────────────────────────────────────────────────────────

    def feature(self, name: str, count: int = 1) -> None:
        """Counts a use of a feature. `name` matches ^[a-z0-9][a-z0-9._-]{0,63}$; a process has 256 names.

        Costs one store into shared memory, which outlives the process.
        """
        try:
            background = self._background
            if not self._is_open or not background.consent.is_counting:
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
        """Reports the license of this copy; a change sends a ping.

        `status`: licensed, trial, expired, invalid or unlicensed. `source`: direct, reseller, marketplace,
        bundle, trial, gift or unknown. The key itself is neither stored nor sent, only its digest.
        """
        try:
            background = self._background
            said = (status, key, source, source_detail, edition, expires_at)
            if said == background.claim[0] or not self._is_open or self._settings.is_forbidden:
                return  # hosts may call it with every request
            why = why_no_status(status)
            if why is not None:
                self._ignore("license", why)
                return
            for name, why in why_left_out(key, source, source_detail, edition, expires_at).items():
                background.problems.note(f"ignored {name} of a license", f"license(): {why}")
            words = claim_words(status, source, source_detail, edition or self._settings.edition, expires_at)
            background.claim = (said, key, words)  # kept without consent, and reported when that is given
            if self._may_say():
                background.say_claim()
        except Exception as error:
            self._ignore("license", type(error).__name__)  # its message may contain the key

    def ping(self) -> None:
        """Reports now instead of at the next heartbeat. Returns at once; waiting requests are merged."""
        try:
            if self._may_say():
                self._background.say("ping", {})
        except Exception as error:
            self._ignore("ping", repr(error))

    def flush(self, timeout: float = 10.0) -> bool:
        """Sends everything and waits until it is acknowledged; returns False after `timeout` seconds.

        Tries at once, also ahead of schedule, unless the server asked to wait. Makes a ping for counts that
        are in none yet.
        """
        try:
            return self._may_say() and self._background.flush(max(0.0, float(timeout)))
        except Exception:
            return False

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Writes everything to disk, tries to send it, and stops, within `timeout` seconds."""
        try:
            if not self._is_open:
                return
            self._is_open = False
            self._background.close_client(self._settings)
            if self._settings.why_off is None:
                self._background.finish(SOON, max(0.0, float(timeout)))
        except Exception:
            pass

    def forget(self, reason: str = "") -> None:
        """Asks the server to erase the data of this installation, and switches telemetry off here.

        The request stays in the outbox until the server has acknowledged it. If telemetry is switched on
        again later, a new installation begins.
        """
        try:
            if self._settings.is_forbidden:
                return self._ignore("forget", str(self._settings.why_off))
            self._background.consent.decide(off=True)
            self._background.say("forget", {"reason": printable(reason, 256) or ""})
        except Exception as error:
            self._ignore("forget", repr(error))

    def support_grant(
        self,
        case: str,
        *,
        ssh: Optional[Dict[str, Any]] = None,
        root_dir: Union[str, Path, None] = None,
        accounts: Optional[List[Dict[str, Any]]] = None,
        expires: Optional[float] = None,
    ) -> Dict[str, Any]:
        """Grants the vendor's support team access for a case, sealed so that only that team can read it.

        Call it only when the customer asks for it; it works without telemetry, too, and waits for disk and
        network. Needs the extra `grants` and `support_root`. Returns the grant, whose `line` belongs into
        authorized_keys; or its `error`.

        ssh       {"user": …}, and perhaps host, port, password, key (True: a key pair is made) and
                  authorized_keys (the file to which the line is added); else sign-in is by certificate
        root_dir  of the installed software
        accounts  [{"kind": "email", "mysql", "ssh" or "other", "name": …, "password": …, "note": …}]
        expires   hours, 72 if omitted, at most 336
        """
        try:
            from ._support import Support  # noqa: PLC0415  hosts that only count never load it

            root = None if root_dir is None else os.fspath(root_dir)
            support = Support(self._settings, self._background.problems)
            return support.grant(case, ssh=ssh, root_dir=root, accounts=accounts, hours=expires)
        except Exception as error:
            self._ignore("support_grant", type(error).__name__)  # its message may contain what is secret
            return {"error": str(error) or type(error).__name__}

    @property
    def enabled(self) -> bool:
        """Whether telemetry is on. Setting it applies to all processes that share the state directory, and is
        stored there; counts from before it was switched off are never sent.
        """
        background = self._background
        return self._is_open and self._why_off() is None and not background.consent.is_off_now()

    @enabled.setter
    def enabled(self, value: bool) -> None:
        try:
            background = self._background
            why = why_no_switch(value)
            if why is not None:
                self._ignore("enabled", f"{why}: it stays {self.enabled}")
            elif value:
                self._switch_on()
            elif self._settings.why_off is None and not background.consent.off:
                background.decide("enabled", "no", less=True, off=True)
        except Exception as error:
            self._ignore("enabled", repr(error))

    def _switch_on(self) -> None:
        background = self._background
        if background.consent.is_locked_now():
            background.problems.note(
                "ignored enabled",
                "enabled = True was ignored: the command switched it off, and has the last word",
            )
            return
        if self._settings.is_forbidden:
            return  # by the environment
        background.change(self._settings, Settings.allow)
        if background.settings.why_off is not None:
            background.problems.note("ignored enabled", f"enabled = True: {background.settings.why_off}")
        elif background.consent.off is not False:
            background.decide("enabled", "yes", less=False, off=False)

    @property
    def level(self) -> Level:
        """The level in force: the lowest that host, environment and customer allow.

        Setting it applies to all processes that share the state directory, and is stored there.
        """
        return self._background.consent.level_now()

    @level.setter
    def level(self, value: Level) -> None:
        try:
            why = why_no_level(value)
            if why is not None:
                self._ignore("level", f"{why}: the level stays {self.level}")
                return
            background, before = self._background, self._background.consent.level
            background.change(self._settings, lambda settings: settings.set_level(value))
            if self._why_off() is None and value not in (before, background.consent.allowed):
                less = LEVELS.index(value) < LEVELS.index(before)
                background.decide("level", value, less=less, level=value)
        except Exception as error:
            self._ignore("level", repr(error))

    def preview(self) -> Dict[str, Any]:
        """The next ping as it would be sent. Sends and changes nothing."""
        return self._look(lambda engine: engine.preview(), {})

    def status(self) -> Dict[str, Any]:
        """The status: identity, queue, last answer, level, losses, problems. Changes nothing."""
        found = self._look(lambda engine: engine.status(), self._background.standing())
        why_off = self._why_off() if self._is_open else "closed"
        return {**found, "enabled": False, "why_off": why_off} if why_off else found

    def export(self, path: Union[str, Path]) -> int:
        """Writes everything queued as signed uploads into a JSON-lines file for a machine that may go online.

        Returns the number of uploads written, 0 also after a failure. The pings stay queued until the server
        acknowledges them.
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
        """Pickling or copying makes a client with the same settings."""
        return _remade, (self._arguments,)

    # ── behind it ───────────────────────────────────────────────────────────────────────────

    def _may_say(self) -> bool:
        notice_fork()
        if is_patched():  # a handler of the host's may wait on its hub, and only the host's threads have one
            self._background.problems.log()
        return self._is_open and self._settings.why_off is None and self._background.may_say()

    def _why_off(self) -> Optional[str]:
        """Why telemetry is off by the settings of this client or of others in this process, or None."""
        return self._settings.why_off or self._background.settings.why_off

    def _ignore(self, call: str, why: str) -> None:
        """Counts an ignored call, and notes its reason."""
        try:
            notice_fork()
            if self._why_off() is None:
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


def why_no_switch(value: object) -> Optional[str]:
    return (
        None if isinstance(value, bool) else f"it must be True or False, not of type {type(value).__name__}"
    )


def why_no_level(value: object) -> Optional[str]:
    return None if value in LEVELS else f"{value!r} is none of {', '.join(LEVELS)}"


def why_no_use(name: object, count: object) -> Optional[str]:
    if not is_name(name):
        return f"{name!r} is no name: it must match ^[a-z0-9][a-z0-9._-]{{0,63}}$"
    if not isinstance(count, int) or not 0 < count <= LARGEST_COUNT:
        return f"{count!r} is no count: it must be a whole number from 1 on"
    return None
