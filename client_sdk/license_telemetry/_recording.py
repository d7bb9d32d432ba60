"""Records the calls of a host, for its tests, with the rules of production."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional

from ._claims import why_left_out, why_no_status
from ._client import Telemetry, why_no_level, why_no_switch, why_no_use
from ._snapshot import SLOTS

Json = Dict[str, Any]


class Recorded:
    """The recorded calls.

    `features` has counts by feature, `licenses` the arguments of each license(), `pings` the number of
    ping()s, `forgotten` the reasons given to forget(), `granted` the cases of support_grant(), `set`
    what `enabled` and `level` were set to, in order, and `ignored` the calls and settings that production
    would ignore, each with its reason.
    """

    def __init__(self) -> None:
        self.features: Dict[str, int] = {}
        self.licenses: List[Json] = []
        self.pings = 0
        self.forgotten: List[str] = []
        self.granted: List[str] = []
        self.set: List[Json] = []
        self.ignored: List[str] = []

    def settings(self, client: Telemetry) -> None:
        """Records the wrong settings of a client, once. A missing endpoint is normal in tests."""
        settings = client._settings  # noqa: SLF001
        for text in settings.troubles.values():
            why = f"Telemetry(): {text}"
            if why not in self.ignored and settings.endpoint is not None:
                self.ignored.append(why)

    def _feature(self, name: str, count: int = 1) -> None:
        why = why_no_use(name, count)
        if why is not None:
            self.ignored.append(f"feature(): {why}")
        elif name not in self.features and len(self.features) >= SLOTS:
            self.ignored.append(f"feature(): {name!r} is beyond the {SLOTS} names of a process")
        else:
            self.features[name] = self.features.get(name, 0) + count

    def _license(
        self,
        status: str,
        key: Optional[str] = None,
        source: Optional[str] = None,
        *,
        source_detail: Optional[str] = None,
        edition: Optional[str] = None,
        expires_at: Any = None,
    ) -> None:
        why = why_no_status(status)
        if why is not None:
            self.ignored.append(f"license(): {why}")
            return
        left_out = why_left_out(key, source, source_detail, edition, expires_at)
        self.ignored += [f"license(): {why}" for why in left_out.values()]
        more = {"source_detail": source_detail, "edition": edition, "expires_at": expires_at}
        given = {name: value for name, value in more.items() if value is not None}
        self.licenses.append({"status": status, "key": key, "source": source, **given})

    def _ping(self) -> None:
        self.pings += 1

    def _forget(self, reason: str = "") -> None:
        self.forgotten.append(reason)

    def _support_grant(self, case: str, **_granted: Any) -> Dict[str, Any]:
        self.granted.append(case)  # never what is secret
        return {"grant_id": "00000000-0000-7000-8000-000000000000", "case": case, "state": "acknowledged"}

    def _flush(self, timeout: float = 10.0) -> bool:  # noqa: ARG002  as flush() has it
        return True

    def _set(self, name: str, why: Optional[str], value: Any) -> None:
        if why is not None:
            self.ignored.append(f"{name} was ignored: {why}")
        else:
            self.set.append({name: value})


@contextmanager
def recording() -> Iterator[Recorded]:
    """Makes every Telemetry record instead of work: no thread, no disk, no network.

    The rules of production apply: calls that would be ignored there are in `ignored`, and nowhere else.
    """
    recorded = Recorded()
    calls = ("feature", "license", "ping", "forget", "support_grant", "flush")
    names = ("__init__", *calls, "enabled", "level")
    real = {name: vars(Telemetry)[name] for name in names}
    stand_ins: Dict[str, Any] = {name: _stand_in(recorded, getattr(recorded, f"_{name}")) for name in calls}
    stand_ins["__init__"] = _opening(recorded, real["__init__"])
    for name, why in (("enabled", why_no_switch), ("level", why_no_level)):
        stand_ins[name] = property(real[name].fget, _setter(recorded, name, why))
    try:
        for name, stand_in in stand_ins.items():
            setattr(Telemetry, name, stand_in)
        yield recorded
    finally:
        for name, method in real.items():
            setattr(Telemetry, name, method)


def _stand_in(recorded: Recorded, record: Callable[..., Any]) -> Callable[..., Any]:
    def call(client: Telemetry, *arguments: Any, **named: Any) -> Any:
        recorded.settings(client)
        return record(*arguments, **named)

    return call


def _opening(recorded: Recorded, real: Callable[..., None]) -> Callable[..., None]:
    def open_client(client: Telemetry, *arguments: Any, **named: Any) -> None:
        real(client, *arguments, **named)
        recorded.settings(client)

    return open_client


def _setter(recorded: Recorded, name: str, why: Callable[[object], Optional[str]]) -> Callable[..., None]:
    return lambda client, value: recorded._set(name, why(value), value)  # noqa: ARG005, SLF001
