"""The checks of `license-telemetry check`: settings, disk, lock, counters, proxy, endpoint, key, clock."""

from __future__ import annotations

import json
import os
import time
from email.utils import parsedate_to_datetime
from typing import Iterator, List, NamedTuple, Optional, Tuple

from . import _identity as identity
from ._answers import CREATED, Answer
from ._counters import SHARED_MEMORY, open_counters
from ._locks import try_lock, unlock
from ._outbox import Outbox, Unavailable
from ._settings import Settings
from ._transport import Transport

MOST_SECONDS_OFF = 300.0
NOT_FOUND = 404
FULL = ("full", "No space", "quota")


class Finding(NamedTuple):
    """The result of a check: whether it is `sound`, and what was found or what to do."""

    name: str
    sound: bool
    text: str


def findings(settings: Settings) -> Iterator[Finding]:
    """Runs all checks in order.

    Makes the state directory with an outbox, and a counter file, if they are missing. Sends no ping; the
    identity that the server issues is discarded.
    """
    yield _settings(settings)
    yield _disk(settings)
    yield _lock(settings)
    yield _counters(settings)
    yield _proxy(settings)
    answer, seconds = _ask(settings)
    yield _endpoint(settings, answer, seconds)
    yield _key(settings, answer)
    yield _clock(answer)


def _settings(settings: Settings) -> Finding:
    why_off = settings.why_off or _off_here(settings)
    if why_off:
        return Finding("settings", sound=False, text=f"telemetry is off: {why_off}")
    troubles = list(settings.troubles.values())
    return Finding(
        "settings", not troubles, "; ".join(troubles) or f"level {settings.level}, product {settings.product}"
    )


def _off_here(settings: Settings) -> Optional[str]:
    try:
        with Outbox(settings.state_dir).look() as ledger:
            off = ledger.get("off")
    except Unavailable:
        return None  # the finding of the disk says so
    return "it was switched off here; `license-telemetry on` switches it on" if off else None


def _disk(settings: Settings) -> Finding:
    outbox, started = Outbox(settings.state_dir), time.monotonic()
    try:
        with outbox.transaction() as ledger:
            ledger.put("outbox_id", ledger.outbox_id())  # a commit that changes nothing
    except Unavailable as error:
        return Finding("disk", sound=False, text=f"{settings.state_dir}: {error}")
    if outbox.in_memory:
        what_to_do = "give the software a state_dir that its user may write to"
        if any(word in str(outbox.why_memory) for word in FULL):
            what_to_do = f"make room for {settings.state_dir}"
        return Finding(
            "disk", sound=False, text=f"nothing can be kept on disk: {outbox.why_memory}; {what_to_do}"
        )
    took = f"{(time.monotonic() - started) * 1000:.0f} ms for a commit"
    return Finding("disk", sound=True, text=f"{settings.state_dir}: {took}")


def _lock(settings: Settings) -> Finding:
    path = os.path.join(settings.state_dir or "", "outbox.lock")
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError as error:
        return Finding("lock", sound=False, text=f"not tried, see disk: {path}: {error.strerror}")
    try:
        if not try_lock(descriptor):
            return Finding(
                "lock", sound=True, text="another process holds it now, as it should while it writes"
            )
        unlock(descriptor)
    except OSError as error:
        text = f"{path}: the file system has no locks ({error.strerror}); use a state_dir on a local disk"
        return Finding("lock", sound=False, text=text)
    finally:
        os.close(descriptor)
    return Finding("lock", sound=True, text="the file system has locks")


def _counters(settings: Settings) -> Finding:
    counters = open_counters(settings.state_dir)
    where = f"counts lie in {counters.storage}"
    if counters.storage == SHARED_MEMORY:
        return Finding("counters", sound=True, text=f"{where}: they outlive the process")
    return Finding("counters", counters.trouble is None, f"{where}: {counters.trouble}")


def _proxy(settings: Settings) -> Finding:
    try:
        Transport(settings).proxy()
    except ValueError as error:
        return Finding("proxy", sound=False, text=str(error))
    named = _proxy_of(settings)
    return Finding("proxy", sound=True, text=f"{named}, for everything below" if named else "none")


def _proxy_of(settings: Settings) -> Optional[str]:
    """The host and port of the proxy, without a password; None also for an invalid address."""
    try:
        found = Transport(settings).proxy()
    except ValueError:
        return None
    return found and found.netloc.rpartition("@")[2]


def _ask(settings: Settings) -> Tuple[Answer, float]:
    """Enrols: the server stores nothing of that before the first ping."""
    if not settings.endpoint:
        return Answer(0, {}, b"", "there is no endpoint"), 0.0
    started = time.monotonic()
    answer = Transport(settings).post(identity.enrolment(settings.product_key or "", None))
    return answer, time.monotonic() - started


def _endpoint(settings: Settings, answer: Answer, seconds: float) -> Finding:
    if not settings.endpoint:
        return Finding("endpoint", sound=False, text="not tried: there is no endpoint")
    if not answer.status:
        proxy = _proxy_of(settings)
        through = f"through the proxy {proxy}: " if proxy else ""
        text = f"{settings.endpoint}: {through}{_words(answer.trouble)}"
        return Finding("endpoint", sound=False, text=text)
    if answer.is_page() or not isinstance(answer.json(), dict):
        text = f"{settings.endpoint}: HTTP {answer.status}, but no telemetry server speaks there"
        return Finding("endpoint", sound=False, text=text)
    if answer.status == NOT_FOUND:
        text = f"{settings.endpoint}: no telemetry server has this path; the endpoint is https://HOST alone"
        return Finding("endpoint", sound=False, text=text)
    if answer.status not in (*CREATED, 401, 403):
        return Finding(
            "endpoint", sound=False, text=f"{settings.endpoint}: HTTP {answer.status} {_detail(answer)}"
        )
    return Finding("endpoint", sound=True, text=f"{settings.endpoint} answers within {seconds * 1000:.0f} ms")


def _key(settings: Settings, answer: Answer) -> Finding:
    if not settings.product_key:
        return Finding(
            "product key",
            sound=False,
            text="there is none: pass product_key= or set LICENSE_TELEMETRY_PRODUCT_KEY",
        )
    if answer.status in CREATED:
        try:
            found = identity.from_answer(answer.json())
        except ValueError as error:
            return Finding("product key", sound=False, text=f"the server's answer is no enrolment: {error}")
        return Finding("product key", sound=True, text=f"the server takes it for {found.product}")
    if answer.status in (401, 403):
        return Finding(
            "product key",
            sound=False,
            text="the server does not know it: compare it with `telemetry-server product list`",
        )
    return Finding("product key", sound=False, text="not tried: the endpoint does not answer")


def _clock(answer: Answer) -> Finding:
    now = _server_time(answer)
    if not answer.status:
        return Finding("clock", sound=True, text="not compared: the endpoint does not answer")
    if now is None:
        return Finding("clock", sound=True, text="not compared: the server sent no time")
    off = time.time() - now
    if abs(off) > MOST_SECONDS_OFF:
        return Finding("clock", sound=False, text=f"it is {off:+.0f} s off the server's: let NTP set it")
    return Finding("clock", sound=True, text=f"{off:+.1f} s from the server's")


def _server_time(answer: Answer) -> Optional[float]:
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _words(trouble: str) -> str:
    """The advice for an error of the network."""
    hints: List[Tuple[str, str]] = [
        ("WRONG_VERSION", "that port speaks no TLS: write http://, or the port that does"),
        ("NO_CERTIFICATE", "ca_file has no certificate in it: it must be a PEM file"),
        ("No such file", "ca_file is not there"),
        ("no http or https", "write it as in https://telemetry.example.com"),
        ("CERTIFICATE", "the certificate is not trusted here: pass ca_file= for an authority of your own"),
        ("Name or service", "the name is not known: look at the address and at the resolver"),
        ("refused", "nothing listens there: look at the port and at the firewall"),
        ("in time", "nothing answers: look at the firewall, or set a proxy"),
        ("timed out", "nothing answers: look at the firewall, or set a proxy"),
    ]
    for word, hint in hints:
        if word in trouble:
            return f"{trouble}; {hint}"
    return trouble


def _detail(answer: Answer) -> str:
    problem = answer.json()
    if not isinstance(problem, dict):
        return ""
    return json.dumps(problem.get("detail") or problem.get("title") or "")
