"""The settings of the host and the customer's environment, read once; nothing here raises.

Imported with the package, so it imports only cheap modules, and not pathlib.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Collection, Dict, Literal, Mapping, Optional, Tuple, Union

    Level = Literal["license", "system", "usage"]
    Limits = Tuple[Level, Optional[str], Optional[str]]

LEVELS: tuple[Level, ...] = ("license", "system", "usage")
STATUSES = ("licensed", "trial", "expired", "invalid", "unlicensed")
SOURCES = ("direct", "reseller", "marketplace", "bundle", "trial", "gift", "unknown")
DAY = 86_400.0
LONGEST_NAME = 64
SHORTEST_INTERVAL = 60.0
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"
_OFF = ("0", "false", "no", "off")
_ON = ("", "1", "true", "yes", "on")
_TEXTS = (
    *("endpoint", "product_key", "product", "version", "build", "environment", "edition", "notice_version"),
    *("proxy", "support_root"),
)
_LONGEST_TEXT = 4096


class Settings:
    """One client's settings.

    `why_off` is None while it may collect, else the reason; `troubles` has the invalid settings by kind.

    Arguments override the environment, except for privacy: the lowest level holds, and any switch that is off
    switches off.
    """

    def __init__(
        self,
        *,
        endpoint: Optional[str] = None,
        product_key: Optional[str] = None,
        product: Optional[str] = None,
        version: Optional[str] = None,
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
        support_root: Optional[str] = None,
        debug: bool = False,
    ) -> None:
        env = os.environ
        self.troubles: Dict[str, str] = {}
        texts = (endpoint, product_key, product, version, build, environment, edition, notice_version, proxy)
        self._look_for_types((*texts, support_root))
        self.endpoint = self._without_user((_text(endpoint) or _variable(env, "ENDPOINT") or "").rstrip("/"))
        self.product_key = _text(product_key) or _variable(env, "PRODUCT_KEY")
        self.product = _slug(_text(product)) or slug_of(self.product_key)
        self.version, self.build, self.environment = _text(version), _text(build), _text(environment)
        self.edition, self.notice_version = _text(edition), _text(notice_version)
        self._environment_level = self._level_of(env)
        self.level: Level = "license"
        self.set_level(level)
        self.state_dir = _directory(state_dir, env, self.product)
        self.proxy = _text(proxy)
        self.ca_file = _path(ca_file) or _variable(env, "CA_FILE")
        self.support_root = _text(support_root) or _variable(env, "SUPPORT_ROOT")
        self.interval = _interval(interval)
        self.debug = bool(debug) or env.get("LICENSE_TELEMETRY_DEBUG", "").strip().lower() not in ("", *_OFF)
        self._why_host = self._reason_of_host(enabled)
        self._why_never = self._reason_of(env)
        self.is_incomplete = not (self.product_key or self.product or _path(state_dir))
        self._look_for_troubles(interval)

    @property
    def why_off(self) -> Optional[str]:
        return self._why_never or ("there is no product key" if self.is_incomplete else self._why_host)

    @property
    def is_forbidden(self) -> bool:
        """Whether the environment forbids it, or product or endpoint is missing: final for the host."""
        return self._why_never is not None or self.is_incomplete

    def allow(self) -> None:
        """Switches on for the host; the environment still applies."""
        self._why_host = None

    @property
    def limits(self) -> Limits:
        """The limits: the level, and why it is off by the environment and by the host."""
        return self.level, self._why_never, self._why_host

    def within(self, limits: Collection[Limits]) -> Settings:
        """A copy limited to what all of these allow."""
        found = Settings.__new__(Settings)
        found.__dict__.update(self.__dict__)
        found.level = LEVELS[min(LEVELS.index(level) for level, _, _ in limits)]
        never = next((never for _, never, _ in limits if never), None)
        hosts = [host for _, _, host in limits]
        why_host = next((host for host in hosts if host), None)
        if why_host and None in hosts:  # each of them reports that itself
            why_host = "another client of this process has it switched off"
        found.__dict__.update(_why_never=never, _why_host=why_host)
        return found

    def set_level(self, asked: object) -> None:
        """Sets the lowest level of host and environment; an unknown word is the lowest."""
        if asked not in LEVELS:
            self.troubles["level"] = f"the level {asked!r} is none of {', '.join(LEVELS)}: license is used"
        index = LEVELS.index(asked) if asked in LEVELS else 0
        self.level = LEVELS[min(index, LEVELS.index(self._environment_level))]

    def _level_of(self, env: Mapping[str, str]) -> Level:
        word = (_variable(env, "LEVEL") or "usage").strip().lower()
        if word not in LEVELS:
            self.troubles["environment level"] = (
                f"LICENSE_TELEMETRY_LEVEL={word} is none of {', '.join(LEVELS)}"
            )
        if word not in LEVELS or env.get("DO_NOT_TRACK", "").strip().lower() not in ("", *_OFF):
            return "license"
        return LEVELS[LEVELS.index(word)]

    def _reason_of(self, env: Mapping[str, str]) -> Optional[str]:
        if env.get("LICENSE_TELEMETRY_DISABLED", "").strip().lower() not in ("", *_OFF):
            return "LICENSE_TELEMETRY_DISABLED is set"
        word = env.get("LICENSE_TELEMETRY", "").strip().lower()
        if word in _OFF:
            return "LICENSE_TELEMETRY is off"
        if word not in _ON:  # it was set to some effect
            why = f"LICENSE_TELEMETRY={word[:20]} is neither on nor off: it counts as off"
            self.troubles["environment switch"] = why
            return why
        return None

    def _reason_of_host(self, enabled: object) -> Optional[str]:
        if enabled is None or enabled is True:
            return None
        if enabled is False:
            return "the host software has it switched off"
        why = f"enabled must be True or False, not of type {type(enabled).__name__}: it counts as False"
        self.troubles["enabled"] = why
        return why

    def _look_for_types(self, texts: Tuple[object, ...]) -> None:
        for name, value in zip(_TEXTS, texts):  # noqa: B905  3.8
            if value is not None and not isinstance(value, str):
                self.troubles[name] = (
                    f"{name} must be a text, not of type {type(value).__name__}: it is ignored"
                )

    def _without_user(self, endpoint: str) -> Optional[str]:
        """The URL without `user:password@`: it is shown in messages, and never sent."""
        start = endpoint.find("://") + 3 if "://" in endpoint else 0
        end = endpoint.find("/", start) if "/" in endpoint[start:] else len(endpoint)
        at = endpoint.rfind("@", start, end)
        if at < 0 and not endpoint[start:end].partition(":")[2].isdigit() and ":" in endpoint[start:end]:
            at = endpoint.rfind("@", start)  # a password with a slash
        if at >= 0:
            self.troubles["endpoint user"] = "user and password in the endpoint are not sent: leave them out"
            endpoint = endpoint[:start] + endpoint[at + 1 :]
        return endpoint or None

    def _look_for_troubles(self, interval: object) -> None:
        if self.why_off is not None:
            return
        if self.endpoint is None:
            self.troubles["endpoint"] = (
                "there is no endpoint: pass endpoint= or set LICENSE_TELEMETRY_ENDPOINT"
            )
        elif not self.endpoint.lower().startswith(("http://", "https://")):
            self.troubles["endpoint"] = f"the endpoint {self.endpoint} must begin with https:// or http://"
        if self.product_key is not None and not _is_product_key(self.product_key):
            self.troubles["product key"] = "the product key does not look like pk_<slug>_<random>"
        if interval is not None and _interval(interval) != interval:
            self.troubles["interval"] = (
                f"the interval {interval!r} is no number of seconds from 60 up to 366 days"
            )


def is_name(value: object) -> bool:
    """Whether `value` is a name of the protocol: ^[a-z0-9][a-z0-9._-]{0,63}$."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_NAME
        and value[0] in _ALPHANUMERIC
        and not value.strip(_ALPHANUMERIC + "._-")  # empty: every character is one of these
    )


def slug_of(product_key: Optional[str]) -> Optional[str]:
    """The product's slug in a product key `pk_<slug>_<random>`; None if there is none."""
    parts = (product_key or "").split("_", 2)
    return _slug(parts[1]) if len(parts) == 3 and parts[0] == "pk" else None  # noqa: PLR2004  the key's three parts


def state_home() -> Optional[str]:
    """The parent of the state directories of all products; None if no home is known."""
    given = os.environ.get("STATE_DIRECTORY", "").split(os.pathsep)[0]
    if os.path.isabs(given):  # systemd's StateDirectory=
        base: Optional[str] = given
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.environ.get("APPDATA")
    elif sys.platform == "darwin":
        base = _expanded("~/Library/Application Support")
    else:
        base = os.environ.get("XDG_STATE_HOME") or _expanded("~/.local/state")
    return os.path.join(base, "license-telemetry") if base else None


def _expanded(path: str) -> Optional[str]:
    found = os.path.expanduser(path)
    return found if os.path.isabs(found) else None


def _directory(given: object, env: Mapping[str, str], product: Optional[str]) -> Optional[str]:
    named = _path(given) or _variable(env, "STATE_DIR")
    if named:
        return _absolute(named)
    home = state_home()
    return os.path.join(home, product or "unnamed") if home else None


def _absolute(path: str) -> Optional[str]:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory is gone
        return None


def _interval(given: object) -> float:
    if type(given) in (int, float) and SHORTEST_INTERVAL <= given <= 366 * DAY:  # type: ignore[operator]
        return float(given)  # type: ignore[arg-type]
    return DAY


def _variable(env: Mapping[str, str], name: str) -> Optional[str]:
    return env.get("LICENSE_TELEMETRY_" + name, "").strip() or None


def _is_product_key(text: str) -> bool:
    return slug_of(text) is not None and " " not in text and text.isascii()


def _text(given: object) -> Optional[str]:
    return printable(given, _LONGEST_TEXT)


def printable(given: object, longest: int) -> Optional[str]:
    """`given` as one line of printable text, or None."""
    if not isinstance(given, str):
        return None
    return "".join(c for c in given if c.isprintable())[:longest].strip() or None


def _path(given: object) -> Optional[str]:
    """The path; None also for an impossible one, with a NUL or a character that this locale cannot encode."""
    try:
        if b"\0" in os.fsencode(given):  # type: ignore[arg-type]  # any value of the host
            return None
        return os.fsdecode(given) or None  # type: ignore[arg-type]  # any value of the host
    except (TypeError, ValueError):
        return None


def _slug(text: Optional[str]) -> Optional[str]:
    return (
        text
        if text and is_name(text) and "." not in text and "_" not in text and len(text) < LONGEST_NAME
        else None
    )
