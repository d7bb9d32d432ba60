"""What an operator may set: each setting, its environment variable, its default.

Read once, in `cli/`. Command-line options win over the environment. `TELEMETRY_NAME_FILE` reads the
value of `TELEMETRY_NAME` from a file. All problems are reported together, unknown names among them.
"""

import base64
import dataclasses
import difflib
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from telemetry_server.errors import SettingsError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "TELEMETRY_"
_DAY = 86_400
FOREVER = "forever"
_MOST_DAYS = 36_500


def _setting(default: Any, text: str, *, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"text": text, "parse": parse, "secret": secret})


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


class Keep(NamedTuple):
    """How many days a class of fields is kept; None: for ever."""

    name: str
    days: int | None

    def __str__(self) -> str:
        return f"{self.name}={FOREVER if self.days is None else self.days}"


def _retention(text: str) -> tuple[Keep, ...]:
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    kept = tuple(Keep(name.strip(), _days(days.strip())) for name, _, days in parts)
    if len({keep.name for keep in kept}) < len(kept):
        raise ValueError("names a class twice")
    return kept


def _days(text: str) -> int | None:
    if text == FOREVER:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_DAYS:
        raise ValueError(f"must be like ping=400,fact=400,usage={FOREVER}, with 1 to {_MOST_DAYS} days")
    return int(text)


def _switch(text: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.lower() not in words:
        raise ValueError("must be one of 1, 0, true, false, yes, no, on, off")
    return words[text.lower()]


def _webhook_secrets(text: str) -> tuple[bytes, ...]:
    return tuple(_webhook_secret(part.strip()) for part in text.split(",") if part.strip())


def _webhook_secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("must be whsec_ and base64, as the shop shows it") from None
    if len(secret) < 24:  # noqa: PLR2004  bytes, the least that Standard Webhooks allow
        raise ValueError("must stand for at least 24 bytes")
    return secret


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004  the highest TCP port
        raise ValueError("must be HOST:PORT, e.g. 127.0.0.1:8080 or [::]:8080")
    return text


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. The field's name in capitals is the environment variable's."""

    data: Path = _setting(
        Path("data"), "Directory of the keyring, the GeoIP files and the embedded PostgreSQL.", parse=Path
    )
    listen: str = _setting("127.0.0.1:8080", "Address to listen on, HOST:PORT.", parse=_listen)
    workers: int = _setting(1, "Server processes on the one port.", parse=_positive)
    public_url: str = _setting("", "Address people and installations use, when a proxy stands in front.")
    database_url: str = _setting(
        "", "An operator's own PostgreSQL, 15 or newer; empty: the embedded one.", secret=True
    )
    database_user: str = _setting(
        "nobody", "Operating-system user the embedded PostgreSQL runs as when the server is root."
    )
    postgres_major: int = _setting(18, "Major version of the embedded PostgreSQL: 16 or 18.", parse=_positive)
    keyring_file: str = _setting("", "File of the master keys; empty: keyring.json in the data directory.")
    trusted_proxies: tuple[Network, ...] = _setting(
        (), "Networks whose X-Forwarded-For is believed, comma-separated.", parse=_networks
    )
    address_retention_days: int = _setting(
        90, "Days to keep full client addresses; 0: never stored.", parse=_not_negative
    )
    reverse_dns: bool = _setting(
        False, "Look up the hostnames of addresses: asks your DNS resolver for each.", parse=_switch
    )
    retention_days: tuple[Keep, ...] = _setting(
        (),
        "Days to keep a class of fields, where not those in fields.toml: ping=400,fact=400,usage=forever.",
        parse=_retention,
    )
    most_waiting_mebibytes: int = _setting(
        64, "Memory for pings that wait to be written, per process.", parse=_positive
    )
    most_incoming_mebibytes: int = _setting(
        64, "Memory for requests on their way in, per process.", parse=_positive
    )
    writer_lanes: int = _setting(2, "Database connections that write, per process.", parse=_positive)
    enrolments_per_hour: int = _setting(
        6_000, "New identities one address (IPv6: one /64) may get in an hour.", parse=_positive
    )
    uploads_per_minute: int = _setting(
        6_000, "Uploads one installation may make in a minute.", parse=_positive
    )
    network_cpu_percent: int = _setting(
        25,
        "Share of a processor for one network's large or unusual uploads of one product, per process.",
        parse=_positive,
    )
    network_mebibytes_per_minute: int = _setting(
        1_024, "What those uploads may hold, inflated, in a minute, per process.", parse=_positive
    )
    notice_version: str = _setting("", "Version of the privacy notice that customers are shown.")
    notice_url: str = _setting("", "Where that notice can be read.")
    shop_webhook_secret: tuple[bytes, ...] = _setting(
        (),
        "Secrets of the shop's webhook, whsec_…, comma-separated while one takes over from another.",
        parse=_webhook_secrets,
        secret=True,
    )
    session_hours: int = _setting(12, "Hours after which a browser signs in anew.", parse=_positive)
    jobs: bool = _setting(True, "Run the background jobs in this server.", parse=_switch)

    @property
    def geoip(self) -> Path:
        return self.data / "geoip"

    @property
    def keyring(self) -> Path:
        return Path(self.keyring_file) if self.keyring_file else self.data / "keyring.json"

    @property
    def notice(self) -> dict[str, str] | None:
        """What an enrolment says of the privacy notice."""
        return {"version": self.notice_version, "url": self.notice_url} if self.notice_version else None

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def base_url(self) -> str:
        return self.public_url.rstrip("/") or f"http://{self.listen}"


def read_settings(environment: Mapping[str, str], options: Mapping[str, Any]) -> Settings:
    """The settings from `environment` and the command line's `options`; an option that is None is not given.

    Raises SettingsError naming every problem there is.
    """
    given, problems = _gather(environment)
    parsed: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        option = options.get(field.name)
        text = option if option is not None else given.get(field.name)
        if text is None:
            continue
        try:
            parsed[field.name] = field.metadata["parse"](str(text))
        except ValueError as error:
            shown = "***" if field.metadata["secret"] else repr(text)
            problems.append(f"{PREFIX}{field.name.upper()}={shown}: {error}")
    if problems:
        raise SettingsError("These settings are wrong:\n" + "\n".join(f"  {problem}" for problem in problems))
    return Settings(**parsed)


def _gather(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    names = {PREFIX + field.name.upper(): field.name for field in dataclasses.fields(Settings)}
    given, problems = {}, []
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        if variable in names:
            given[names[variable]] = environment[variable]
        elif variable.removesuffix("_FILE") in names:
            text, problem = _read_file(variable, environment[variable])
            given[names[variable.removesuffix("_FILE")]] = text
            problems += problem
        else:
            problems.append(_unknown(variable, names))
    return given, problems


def _read_file(variable: str, path: str) -> tuple[str, list[str]]:
    try:
        return Path(path).read_text("utf-8").strip(), []
    except (OSError, UnicodeDecodeError) as error:
        return "", [f"{variable}={path}: {error}"]


def _unknown(variable: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(variable, names, n=1)
    return f"{variable}: there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
