"""The settings of an operator, with their environment variables and defaults.

Read once, in `cli/`. Command-line options override the environment. `TELEMETRY_NAME_FILE` reads the
value of `TELEMETRY_NAME` from a file. All problems are reported together, including unknown names.
The types and their bounds are in `setting_types`.
"""

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry_server import setting_types as types
from telemetry_server.errors import SettingsError
from telemetry_server.setting_types import Keep, Network
from telemetry_server.text import decoded

PREFIX = "TELEMETRY_"
_LONGEST_SHOWN = 80
_LARGEST_FILE = 65_536
_TOGETHER = (
    ("notice_version", "notice_url"),
    ("smtp_url", "mail_from"),
    ("proxy_sign_in_header", "proxy_sign_in_secret"),
)


def _setting(default: Any, text: str, *, parse: Callable[[str], Any], secret: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"text": text, "parse": parse, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process. A field's environment variable is TELEMETRY_ and its name in capitals."""

    data: Path = _setting(
        Path("data"),
        "Directory of the keyring, the GeoIP files and the embedded PostgreSQL.",
        parse=types.directory,
    )
    listen: str = _setting("127.0.0.1:8080", "Address to listen on, HOST:PORT.", parse=types.listen)
    workers: int = _setting(1, "Number of server processes, all on the same port.", parse=types.whole(1, 256))
    public_url: str = _setting(
        "",
        "Public URL of a proxy in front of the server: https://HOST.",
        parse=types.address_of_site,
    )
    database_url: str = _setting(
        "",
        "External PostgreSQL, 15 or newer; empty: the embedded one.",
        parse=types.database,
        secret=True,
    )
    database_user: str = _setting(
        "telemetry-postgres",
        "System user of the embedded PostgreSQL if the server runs as root; the default one is created.",
        parse=types.user,
    )
    postgres_major: int = _setting(
        18, "Major version of the embedded PostgreSQL: 16 or 18.", parse=types.one_of(16, 18)
    )
    keyring_file: str = _setting(
        "",
        "File of the master keys; empty: keyring.json in the data directory.",
        parse=types.optional_file,
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (), "Networks whose X-Forwarded-For is trusted, comma-separated.", parse=types.proxies
    )
    address_retention_days: int = _setting(
        90, "Days to store full client addresses; 0: never stored.", parse=types.whole(0, types.MOST_DAYS)
    )
    reverse_dns: bool = _setting(
        False, "Look up the hostnames of addresses with your DNS resolver.", parse=types.switch
    )
    retention_days: tuple[Keep, ...] = _setting(
        (),
        "Days to store a class of fields, instead of those in fields.toml: ping=400,fact=400,usage=forever.",
        parse=types.retention,
    )
    most_waiting_mebibytes: int = _setting(
        64, "Memory for pings waiting to be written, per process.", parse=types.whole(16, 65_536)
    )
    most_incoming_mebibytes: int = _setting(
        64, "Memory for incoming requests, per process.", parse=types.whole(1, 65_536)
    )
    writer_lanes: int = _setting(2, "Database connections that write, per process.", parse=types.whole(1, 64))
    enrolments_per_hour: int = _setting(
        6_000,
        "New identities per hour for one address (IPv6: one /64).",
        parse=types.whole(1, 1_000_000_000),
    )
    uploads_per_minute: int = _setting(
        6_000, "Uploads per minute of one installation.", parse=types.whole(1, 1_000_000_000)
    )
    network_cpu_percent: int = _setting(
        25,
        "Share of a processor for large or unusual uploads of one network and product, per process.",
        parse=types.whole(1, 100),
    )
    network_mebibytes_per_minute: int = _setting(
        1_024,
        "Inflated size of those uploads per minute, per process.",
        parse=types.whole(8, 1_048_576),
    )
    notice_version: str = _setting(
        "", "Version of the privacy notice shown to customers.", parse=types.words(64)
    )
    notice_url: str = _setting("", "URL of that notice.", parse=types.address_of_page)
    public_figures: bool = _setting(
        False, "Publish numbers of customers on the page /public.", parse=types.switch
    )
    shop_webhook_secret: tuple[bytes, ...] = _setting(
        (),
        "Secrets of the shop's webhook, whsec_…; several, comma-separated, during a rotation.",
        parse=types.webhook_secrets,
        secret=True,
    )
    session_hours: int = _setting(
        12, "Hours after which a browser has to sign in again.", parse=types.whole(1, 8_760)
    )
    audit_checkpoints: str = _setting(
        "",
        "Directory for checkpoints of the audit log: on another machine's disk, or copied to one.",
        parse=types.optional_directory,
    )
    audit_timestamp_url: str = _setting(
        "",
        "URL of an RFC 3161 timestamp authority for these checkpoints; needs the extra timestamps.",
        parse=types.address_of_page,
    )
    audit_witness_url: str = _setting(
        "",
        "Witness of these checkpoints (c2sp.org/tlog-witness): https://OTHER-SERVER/api/v1/witness.",
        parse=types.address_for_a_secret,
    )
    audit_witness_token: str = _setting(
        "", "API token for the witness, with the scope witness.", parse=types.token, secret=True
    )
    audit_witness_of: tuple[str, ...] = _setting(
        (),
        "Public keys of the audit logs that this server is the witness of, comma-separated.",
        parse=types.log_keys,
    )
    audit_retention_days: int = _setting(
        1_095, "Days to store entries of the audit log.", parse=types.whole(30, types.MOST_DAYS)
    )
    backup_retention_days: int = _setting(
        35,
        "Days for which you keep backups; a certificate of erasure names the day when the last one is gone.",
        parse=types.whole(0, types.MOST_DAYS),
    )
    proxy_sign_in_header: str = _setting(
        "",
        "Header with which a trusted proxy names the e-mail address of a person that it has signed in.",
        parse=types.header,
    )
    proxy_sign_in_secret: str = _setting(
        "",
        "Secret that the proxy sends beside it, in X-Telemetry-Proxy-Secret.",
        parse=types.shared_secret,
        secret=True,
    )
    sign_in_providers: str = _setting(
        "",
        "File with the OpenID providers that people sign in with; needs the extra oidc.",
        parse=types.optional_file,
    )
    smtp_url: str = _setting(
        "",
        "SMTP server for e-mail to people: smtp, smtp+starttls or smtps, ://USER:PASSWORD@HOST:PORT.",
        parse=types.smtp,
        secret=True,
    )
    mail_from: str = _setting("", "Sender of that e-mail.", parse=types.words(254))
    detection_rules: str = _setting(
        "",
        "Directory with custom rules of the investigations; "
        "write access to it is read access to the database.",
        parse=types.optional_directory,
    )
    detection_allowed_networks: tuple[Network, ...] = _setting(
        (),
        "Networks whose copies count for nothing in investigations, comma-separated.",
        parse=types.networks,
    )
    detection_base_rate: int = _setting(
        100,
        "Expected misuse of 10,000 customers: what the scores of cases start from.",
        parse=types.whole(1, 5_000),
    )
    jobs: bool = _setting(True, "Run the background jobs in this server.", parse=types.switch)

    @property
    def geoip(self) -> Path:
        return self.data / "geoip"

    @property
    def support_directory(self) -> Path:
        """The directory of the support team's keys, beside the keyring."""
        return self.keyring.parent / "support"

    @property
    def keyring(self) -> Path:
        return Path(self.keyring_file) if self.keyring_file else self.data / "keyring.json"

    @property
    def own_rules(self) -> Path | None:
        return Path(self.detection_rules) if self.detection_rules else None

    @property
    def base_rate(self) -> float:
        """The expected share of misuse among customers."""
        return self.detection_base_rate / 10_000

    @property
    def audit_directory(self) -> Path | None:
        return Path(self.audit_checkpoints) if self.audit_checkpoints else None

    @property
    def notice(self) -> dict[str, str] | None:
        """The privacy notice in the answer to an enrolment."""
        return {"version": self.notice_version, "url": self.notice_url} if self.notice_version else None

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def base_url(self) -> str:
        return self.public_url or f"http://{self.listen}"


def read_settings(environment: Mapping[str, str], options: Mapping[str, Any]) -> Settings:
    """The settings from `environment` and the command line's `options`; None: option not given.

    Raises SettingsError naming all problems.
    """
    given, problems = _gather(environment)
    parsed: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        option = options.get(field.name)
        text = option if option is not None else given.get(field.name)
        if text is None:
            continue
        try:
            parsed[field.name] = _parsed(field, str(text))
        except ValueError as error:
            shown = "***" if field.metadata["secret"] else _shown(str(text))
            problems.append(f"{_variable(field)}={shown}: {error}")
    if not problems:
        problems += _halves(parsed)
    if problems:
        raise SettingsError("These settings are wrong:\n" + "\n".join(f"  {problem}" for problem in problems))
    return Settings(**parsed)


def _halves(parsed: Mapping[str, Any]) -> Iterable[str]:
    """The problems of settings that need each other."""
    for one, other in _TOGETHER:
        if bool(parsed.get(one)) != bool(parsed.get(other)):
            names = f"{PREFIX}{one.upper()} and {PREFIX}{other.upper()}"
            yield f"{names} belong together: set both or none"
    if parsed.get("proxy_sign_in_header") and not parsed.get("trusted_proxies"):
        yield f"{PREFIX}PROXY_SIGN_IN_HEADER needs {PREFIX}TRUSTED_PROXIES: the addresses that may send it"
    if parsed.get("audit_timestamp_url") and not parsed.get("audit_checkpoints"):
        yield f"{PREFIX}AUDIT_TIMESTAMP_URL needs {PREFIX}AUDIT_CHECKPOINTS, where timestamps are stored"
    if parsed.get("audit_witness_token") and not parsed.get("audit_witness_url"):
        yield f"{PREFIX}AUDIT_WITNESS_TOKEN needs {PREFIX}AUDIT_WITNESS_URL"


def _variable(field: Any) -> str:
    return PREFIX + str(field.name).upper()


def _parsed(field: Any, text: str) -> Any:
    """Raises ValueError."""
    if not text.isprintable():  # pasted with an invisible character, which would fail elsewhere
        raise ValueError("has an invisible character in it, or a line end; type it again")
    if not text.strip() and field.default not in {"", ()}:
        raise ValueError("is empty; remove it, or write a value")
    return field.metadata["parse"](text)


def _shown(text: str) -> str:
    """A short form of a value that is not secret; hidden if it may be a URL with a password."""
    if "@" in text:
        return "***"
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _gather(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The given texts by setting, and the problems of the variables."""
    fields = {_variable(field): field for field in dataclasses.fields(Settings)}
    given, problems = {}, []
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        plain = variable.removesuffix("_FILE")
        if variable in fields:
            given[fields[variable].name] = environment[variable]
        elif plain not in fields:
            problems.append(_unknown(variable, fields))
        elif plain in environment:
            problems.append(f"{plain} and {variable} are both set: remove one of them")
        else:
            try:
                given[fields[plain].name] = _read_file(environment[variable])
            except ValueError as error:
                # The path may be the secret itself, given instead of a file by mistake.
                shown = "***" if fields[plain].metadata["secret"] else _shown(environment[variable])
                problems.append(f"{variable}={shown}: {error}")
    return given, problems


def _read_file(path: str) -> str:
    """The text of a small file, without white space around it. Raises ValueError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: not a path
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no path"
        raise ValueError(
            f"the file cannot be read ({reason}); write the path of a file with the value"
        ) from None
    if len(content) > _LARGEST_FILE:
        raise ValueError(
            f"the file has more than {_LARGEST_FILE} bytes; write the path of a file with the value"
        )
    try:
        text = decoded(content).strip()
    except UnicodeDecodeError:
        raise ValueError("the file is not text; save it as UTF-8") from None
    if not text:
        raise ValueError("the file is empty; write the value into it")
    return text


def _unknown(variable: str, names: Iterable[str]) -> str:
    bare = [name.removeprefix(PREFIX) for name in names]  # the common prefix would make all names similar
    close = difflib.get_close_matches(variable.removeprefix(PREFIX), bare, n=1)
    advice = f"did you mean {PREFIX}{close[0]}?" if close else '"telemetry-server config show" lists them'
    return f"{variable}: there is no such setting; {advice}"
