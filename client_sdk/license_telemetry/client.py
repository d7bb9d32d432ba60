"""The public face. Nothing here raises, waits for disk or network, prints, or keeps the host alive."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from queue import SimpleQueue

from .forks import clients, guard, start_afresh
from .pending import Pending
from .settings import Settings
from .signals import NOW, SOON, WHEN_DUE, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Dict, Optional, Type, Union

    from .sender import Sender

CLOSE_SECONDS = 2.0
GRACE_SECONDS = 0.03
SAY_AGAIN_SECONDS = 60.0
MOST_SIGNALS = 64


class Telemetry:
    """One client of the telemetry server; one for a process is enough, any thread may use it.

    Arguments left out come from the environment (LICENSE_TELEMETRY_ENDPOINT, …_PRODUCT_KEY,
    …_STATE_DIR, …_CA_FILE); LICENSE_TELEMETRY_DISABLED=1, LICENSE_TELEMETRY=off,
    LICENSE_TELEMETRY_LEVEL and DO_NOT_TRACK=1 can only lower what is sent.

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
        level: str = "usage",
        state_dir: Union[str, Path, None] = None,
        notice_version: Optional[str] = None,
        proxy: Optional[str] = None,
        ca_file: Union[str, Path, None] = None,
        enabled: Optional[bool] = None,
        interval: Optional[float] = None,
    ) -> None:
        self._settings = Settings(
            endpoint=endpoint,
            product_key=product_key,
            product=product,
            version=version,
            build=build,
            environment=environment,
            edition=edition,
            level=level,
            state_dir=state_dir,
            notice_version=notice_version,
            proxy=proxy,
            ca_file=ca_file,
            enabled=enabled,
            interval=interval,
        )
        self._open = False
        self._said: Dict[str, Any] = {}
        self._say_again_at = 0.0
        self.start_afresh(whole=True)
        if self._open:
            clients.add(self)
            atexit.register(self._at_exit)

    # ── what the host calls ─────────────────────────────────────────────────────────────────

    def feature(self, name: str, count: int = 1) -> None:
        """Count a use of a feature; `name` matches ^[a-z0-9][a-z0-9._-]{0,63}$.

        Costs a dictionary update. The counts reach the disk every few seconds.
        """
        try:
            if not self._counting:
                return
            if os.getpid() != self._pid:
                start_afresh()
            if self._pending.count(name, count):
                self._wake(None)
        except Exception:
            self._pending.ignore()

    def license(
        self,
        status: str,
        key: Optional[str] = None,
        source: Optional[str] = None,
        *,
        source_detail: Optional[str] = None,
        edition: Optional[str] = None,
        expires_at: Union[date, str, None] = None,
    ) -> None:
        """Say which license this copy runs under; a ping leaves when that changed.

        `status`: licensed, trial, expired, invalid or unlicensed. `source`: direct, reseller, marketplace,
        bundle, trial, gift or unknown. The key leaves this machine and reaches its disk as a digest only.
        """
        said = {
            "status": status,
            "key": key,
            "source": source,
            "source_detail": source_detail,
            "edition": edition,
            "expires_at": expires_at,
        }
        try:
            now = time.monotonic()
            if said == self._said and now < self._say_again_at:
                return  # hosts may say it with every request
            self._said, self._say_again_at = said, now + SAY_AGAIN_SECONDS
            self._ask("license", said)
        except Exception:
            pass

    def ping(self) -> None:
        """Report now rather than at the next heartbeat. Returns at once."""
        try:
            self._ask("manual", {})
        except Exception:
            pass

    def flush(self, timeout: float = 10.0) -> bool:
        """Send all that was handed over and wait until it is acknowledged; False when that is not in time.

        Tries at once, whatever the schedule says, unless the server itself asked to wait. Counts that no
        ping carries yet get one.
        """
        try:
            return self._flush(time.monotonic() + timeout)
        except Exception:
            return False

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Write everything to disk, try to send it, and stop. Takes no longer than `timeout` seconds."""
        try:
            self._close(max(timeout, 0.0), timeout)
        except Exception:
            pass

    def preview(self) -> Dict[str, Any]:
        """The next ping as it would be sent. Sends nothing, changes nothing."""
        try:
            return self._engine().preview()
        except Exception as error:
            return {"error": str(error)}

    def status(self) -> Dict[str, Any]:
        """How things stand: identity, queue, last answer, next ping, level, losses. Changes nothing."""
        try:
            return self._engine().status()
        except Exception as error:
            return {"error": str(error)}

    def export(self, path: Union[str, Path]) -> int:
        """Write everything queued as signed uploads into a JSON-lines file for a machine that may go online.

        Returns how many uploads were written; 0 also where it could not be done. The pings stay queued
        until the server acknowledges them.
        """
        try:
            sender = self._engine()
            sender.collect()
            return sender.export(os.fsdecode(path))
        except Exception:
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

    # ── behind it ───────────────────────────────────────────────────────────────────────────

    def start_afresh(self, *, whole: bool) -> None:
        """Begin with empty memory: at birth, and in a forked child, whose parent keeps what was counted.

        Where the fork cut a transaction in half (not `whole`) the child stays off: it can't know
        which locks SQLite believes in.
        """
        self._pid = os.getpid()
        self._pending = Pending()
        self._signals: SimpleQueue[Optional[Signal]] = SimpleQueue()
        self._said = {}
        self._thread: Optional[threading.Thread] = None
        self._sender: Optional[Sender] = None
        self._starting = threading.Lock()
        if not whole:
            self._settings.why_off = "the process was forked while the outbox was being written"
        self._open = self._settings.why_off is None
        self._counting = self._open and self._settings.level == "usage"

    def _ask(self, reason: str, arguments: Dict[str, Any]) -> None:
        if not self._open:
            return
        if os.getpid() != self._pid:
            start_afresh()
        self._pending.ask((reason, time.time(), arguments))
        if self._signals.qsize() < MOST_SIGNALS:  # whoever comes with these finds the request, too
            self._wake(Signal(SOON if reason == "manual" else WHEN_DUE))

    def _wake(self, signal: Optional[Signal]) -> None:
        self._signals.put(signal)
        if self._thread is None or not self._thread.is_alive():
            self._start_thread()

    def _start_thread(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="license-telemetry", daemon=True)
                thread.start()
                self._thread = thread
                self._close_with_the_process()
        except RuntimeError:
            pass  # no thread to be had: what was handed over waits for the next call, or for the exit
        finally:
            self._starting.release()

    def _close_with_the_process(self) -> None:
        """The children of multiprocessing leave without atexit, through finalizers of their own."""
        util = sys.modules.get("multiprocessing.util")
        process = sys.modules.get("multiprocessing.process")
        if util and process and process.parent_process() is not None:
            util.Finalize(None, self._at_exit, exitpriority=0)

    def _run(self) -> None:
        try:
            self._engine().run(self._signals)
        except Exception:
            self._open = self._counting = False

    def _engine(self) -> Sender:
        """What knows disk and network, loaded on first use; a fork must not cut that in half."""
        if self._sender is None:
            with guard:
                from .sender import Sender  # noqa: PLC0415  costs what importing the package must not

                if self._sender is None:
                    self._sender = Sender(self._settings, self._pending)
        return self._sender

    def _flush(self, deadline: float) -> bool:
        while self._open:
            signal = Signal(NOW)
            self._wake(signal)
            if not signal.done.wait(max(0.0, deadline - time.monotonic())):
                return False
            if signal.sent is not None or time.monotonic() >= deadline:
                return bool(signal.sent)
            time.sleep(GRACE_SECONDS)  # another process is sending
        return False

    def _at_exit(self) -> None:
        try:
            self._close(CLOSE_SECONDS, GRACE_SECONDS)
        except Exception:
            pass

    def _close(self, timeout: float, grace: float) -> None:
        """Disk first, on this thread; then wait `grace` for the network."""
        was_open, self._open, self._counting = self._open, False, False
        self._settings.why_off = self._settings.why_off or "closed"
        atexit.unregister(self._at_exit)
        if not was_open or os.getpid() != self._pid or (self._thread is None and not self._pending.peek()):
            return
        deadline = time.monotonic() + timeout
        sender = self._engine()
        sender.collect(patience=timeout * 0.8)
        signal = Signal(SOON, closing=True)
        self._wake(signal)
        if not signal.done.wait(min(grace, max(0.0, deadline - time.monotonic()))):
            sender.release()
