"""The golden pings: what the server keeps, and what it refuses with which reason.

A valid entry may say `unknown` (keys the registry doesn't have: one for each unknown key of the ping
or of a known section) and `stripped` (registry fields present above the ping's privacy level; null is
not present). An invalid entry has exactly one fault. Its `field` is a registry field (a wrong
key or value inside a map is the map's), a section that is no object, or empty where the ping as a whole is
refused: malformed, no object, too deep, U+0000 anywhere. An entry has a `raw` text instead of a `ping`
where not every JSON parser reads the same out of it. A valid entry is `lenient` where the server takes what the
JSON Schema does not allow: what encoders of some languages write, and no client should mean to.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Json = dict[str, Any]

LARGEST_INTEGER = 2**53 - 1
DIGEST = "9f2c3ab1d5e84f60a7b8c9d0e1f2031425364758697a8b9cadbecfd0e1f20314"
MAX_LENGTH = {
    "boot_id": 64,
    "privacy.notice_version": 64,
    "license.key_hint": 8,
    "license.source_detail": 256,
    "license.edition": 64,
    "service.version": 64,
    "service.build": 128,
    "service.environment": 64,
    "os.name": 64,
    "os.version": 64,
    "os.kernel": 128,
    "runtime.name": 64,
    "runtime.version": 64,
}
NAMES = ("os.type", "host.arch", "virtualization.vm", "virtualization.container", "virtualization.cloud")
REQUIRED = ("ping_id", "sequence", "occurred_at", "privacy.level", "license.status")
NULLABLE = (
    *("reason", "boot_id", "privacy.notice_version"),
    *("license.key_digest", "license.key_hint", "license.source", "license.source_detail"),
    *("license.edition", "license.expires_at", "service.version", "service.build", "service.environment"),
    *("outbox.evicted", "outbox.refused", "outbox.unsaved"),
    *("os.type", "os.name", "os.version", "os.kernel", "host.arch", "host.fingerprint"),
    *("virtualization.vm", "virtualization.container", "virtualization.cloud"),
    *("runtime.name", "runtime.version", "usage.since", "usage.features"),
)
REQUIRED_SECTIONS = ("privacy", "license")
OPTIONAL_SECTIONS = ("service", "outbox", "os", "host", "virtualization", "runtime", "usage")
SECTIONS = (*REQUIRED_SECTIONS, *OPTIONAL_SECTIONS)

NOT_TEXT: Json = {
    "ping_id": 42,
    "occurred_at": 1795341598,
    "reason": ["start"],
    "boot_id": 7,
    "privacy.level": {"usage": True},
    "license.status": True,
    "license.key_digest": 0,
    "license.key_hint": 1234,
    "license.source_detail": {},
    "service.version": 7.2,
    "os.type": False,
    "os.version": 12,
    "usage.since": 0,
}

MINIMAL: Json = {
    "ping_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",
    "sequence": 1,
    "occurred_at": "2026-11-22T09:59:58.004Z",
    "privacy": {"level": "usage"},
    "license": {"status": "unlicensed"},
}
FULL: Json = {
    "ping_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c91",
    "sequence": 42,
    "occurred_at": "2026-11-22T09:59:58.004Z",
    "reason": "heartbeat",
    "boot_id": "b1f0c2a49d3e5768",
    "privacy": {"notice_version": "2018-04-17", "level": "usage"},
    "license": {
        "status": "licensed",
        "key_digest": DIGEST,
        "key_hint": "7Q2K",
        "source": "marketplace",
        "source_detail": "codecanyon",
        "edition": "business",
        "expires_at": "2027-01-31T00:00:00Z",
    },
    "service": {"version": "7.2.1", "build": "sha256:0f3e", "environment": "production"},
    "outbox": {"evicted": 3, "refused": 1, "unsaved": 0},
    "os": {"type": "linux", "name": "debian", "version": "12", "kernel": "6.1.0-31-amd64"},
    "host": {"arch": "amd64", "fingerprint": {"machine_id": DIGEST, "board": DIGEST[::-1]}},
    "virtualization": {"vm": "kvm", "container": "docker", "cloud": "aws"},
    "runtime": {"name": "cpython", "version": "3.11.7"},
    "usage": {"since": "2026-11-21T09:59:58Z", "features": {"invoice.created": 12, "report.run": 0}},
}


def having(*changes: tuple[str, Any], base: Json = MINIMAL) -> Json:
    """`base` with each dotted path set to a value."""
    ping = deepcopy(base)
    for path, value in changes:
        section, _, name = path.rpartition(".")
        (ping.setdefault(section, {}) if section else ping)[name] = value
    return ping


def lacking(path: str) -> Json:
    ping = deepcopy(MINIMAL)
    section, _, name = path.rpartition(".")
    del (ping[section] if section else ping)[name]
    return ping


def nested(containers: int, *, array: bool = False) -> Any:
    """A value of so many containers, one inside the other, around a number."""
    value: Any = 1
    for _ in range(containers):
        value = [value] if array else {"x": value}
    return value


def features(count: int) -> dict[str, int]:
    return {f"feature-{number:03}".ljust(64, "x"): LARGEST_INTEGER for number in range(count)}


def fingerprint(count: int) -> dict[str, str]:
    return {f"part-{number:02}".ljust(64, "x"): DIGEST for number in range(count)}


# ── what the server keeps ───────────────────────────────────────────────────────────────────


def valid() -> Iterator[Json]:
    yield entry("only what is required", MINIMAL)
    yield entry("every field", FULL)
    yield entry("every field, with white space between the tokens", raw=spread(FULL))
    yield from valid_levels()
    yield from valid_values()
    yield from valid_timestamps()
    yield from valid_unknown()
    yield from valid_leniency()
    yield from valid_largest()


def valid_levels() -> Iterator[Json]:
    for level, stripped in (("license", 13), ("system", 2)):
        changed = having(("privacy.level", level), base=FULL)
        yield entry(f"every field at level {level}", changed, stripped=stripped)
        yield entry(f"only what is required at level {level}", having(("privacy.level", level)))
    wrong_above = having(("privacy.level", "system"), ("usage.features", {"Invoice": -1}))
    yield entry("a wrong value above the level is dropped unseen", wrong_above, stripped=1)
    empty = having(("privacy.level", "license"), ("os", {}), ("usage", {}))
    yield entry("empty sections above the level hold no field", empty)
    emptied = having(("privacy.level", "license"), ("usage.features", {}), ("host.fingerprint", {}))
    yield entry("an empty map above the level is a field", emptied, stripped=2)


def valid_values() -> Iterator[Json]:
    yield entry("every optional field null", having(*((path, None) for path in NULLABLE)))
    yield entry("every optional section null", {**MINIMAL, **dict.fromkeys(OPTIONAL_SECTIONS)})
    yield entry("empty sections", {**MINIMAL, **{name: {} for name in SECTIONS if name not in MINIMAL}})
    yield entry("empty maps", having(("usage.features", {}), ("host.fingerprint", {})))
    yield entry("empty strings", having(*((path, "") for path in MAX_LENGTH)))
    for reason in ("start", "heartbeat", "license", "manual"):
        yield entry(f"reason {reason}", having(("reason", reason)))
    for status in ("licensed", "trial", "expired", "invalid", "unlicensed"):
        yield entry(f"license status {status}", having(("license.status", status)))
    for source in ("direct", "reseller", "marketplace", "bundle", "trial", "gift", "unknown"):
        yield entry(f"license source {source}", having(("license.source", source)))
    yield entry("a ping id of version 4", having(("ping_id", "5f0c2a7d-9e11-4d2a-9b1e-019ab6f03c1e")))
    text = 'Ünïcode "quotes" \\ / \n\t\x01\x7f\x85\u2028\u202e 日本語 😀'
    yield entry("any character but U+0000", having(("license.source_detail", text)))
    yield entry("a surrogate pair of escapes", raw=with_source_detail(r"\ud83d\ude00"))
    names = {"0": 1, "a": 2, "invoice.created": 3, "a-b_c.d": 4, "constructor": 5}
    yield entry("names of every form", having(("usage.features", names)))


def valid_timestamps() -> Iterator[Json]:
    for name, text in (
        ("with an offset east of Greenwich", "2026-11-22T15:29:58+05:30"),
        ("with an offset west of Greenwich", "2026-11-21T22:59:58.5-11:00"),
        ("of nanoseconds", "2026-11-22T09:59:58.123456789Z"),
        ("of a leap day", "2028-02-29T23:59:59Z"),
        ("of a clock that was never set", "1970-01-01T00:00:00Z"),
        ("of a clock far ahead", "2099-12-31T23:59:59Z"),
        ("of Go's zero time", "0001-01-01T00:00:00Z"),
        ("before the year 1 in UTC", "0001-01-01T00:00:00+01:00"),
        ("after the year 9999 in UTC", "9999-12-31T23:59:59-01:00"),
    ):
        yield entry(f"a timestamp {name}", having(("occurred_at", text), ("license.expires_at", text)))


def valid_leniency() -> Iterator[Json]:
    """What encoders write without being asked: PHP's empty array, .NET's largest time, a clock's 61st second."""
    for section in OPTIONAL_SECTIONS:
        yield entry(f"section {section} is an empty array", {**MINIMAL, section: []}, lenient=True)
    for path in ("host.fingerprint", "usage.features"):
        yield entry(f"{path} is an empty array", having((path, []), base=FULL), lenient=True)
    spaced = json.dumps(having(("usage.features", "?"))).replace('"?"', "[ \n]")
    yield entry("an empty array with white space", raw=spaced, lenient=True)
    for name, text in (
        (".NET's largest", "9999-12-31T23:59:59.9999999Z"),
        ("Go's largest", "9999-12-31T23:59:59.999999999Z"),
        ("that is a leap second", "2016-12-31T23:59:60Z"),
        ("within a leap second", "2016-12-31T23:59:60.5Z"),
        ("that is a leap second in India", "2017-01-01T05:29:60+05:30"),
    ):
        both = having(("occurred_at", text), ("license.expires_at", text), ("usage.since", text))
        yield entry(f"a timestamp {name}", both, lenient=True)
    for path in ("virtualization.vm", "virtualization.container", "virtualization.cloud"):
        yield entry(f"{path} is the word none", having((path, "none")))
    yield entry("an operating system's name in capitals", having(("os.name", "Debian")))
    above = having(("privacy.level", "license"), ("os.name", None), ("usage", None), ("host", []))
    yield entry("null and an empty array above the level hold no field", above, lenient=True)


def valid_unknown() -> Iterator[Json]:
    yield entry("an unknown key", {**MINIMAL, "mood": "fine"}, unknown=1)
    yield entry("an unknown section", {**MINIMAL, "disk": {"free": 1, "total": {"bytes": 2}}}, unknown=1)
    yield entry("an unknown key in a known section", having(("license.seats", 5)), unknown=1)
    kinds: Json = {"a": None, "b": True, "c": 1.5, "d": "text", "e": [1, "two", [3]], "f": {}, "Ä": 1, "": 1}
    yield entry("unknown keys of every type", {**MINIMAL, **kinds}, unknown=8)
    yield entry("an unknown key that looks like a path", {**MINIMAL, "os.type": "linux"}, unknown=1)
    yield entry("an unknown key of a prototype", raw=json.dumps(having(("__proto__", {"a": 1}))), unknown=1)
    everywhere = having(*((f"{section}.later", 1) for section in SECTIONS), ("later", 1), base=FULL)
    yield entry("an unknown key everywhere", everywhere, unknown=len(SECTIONS) + 1)
    yield entry("objects eight deep", {**MINIMAL, "x": nested(7)}, unknown=1)
    yield entry("arrays eight deep", {**MINIMAL, "x": nested(7, array=True)}, unknown=1)
    for name, number in (("1e400", "1e400"), ("of 400 digits", "9" * 400), ("-1e999", "-1e999")):
        yield entry(f"an unknown number {name}", raw=with_sequence(f'1,"x":[{number}]'), unknown=1)
        inside = json.dumps(having(("license.x", "?"))).replace('"?"', number)
        yield entry(f"an unknown number {name} in a known section", raw=inside, unknown=1)
    yield entry("an unknown text longer than any field", {**MINIMAL, "essay": "x" * 1000}, unknown=1)


def valid_largest() -> Iterator[Json]:
    texts = [(path, "😀" * length) for path, length in MAX_LENGTH.items()]
    names = [(path, "n" * 64) for path in NAMES]
    numbers = [(path, LARGEST_INTEGER) for path in ("sequence", "outbox.evicted", "outbox.unsaved")]
    maps = [("usage.features", features(256)), ("host.fingerprint", fingerprint(16))]
    yield entry("every text at its longest, in characters of four bytes", having(*texts, *names))
    yield entry("every number at its largest and every map at its fullest", having(*numbers, *maps))
    yield entry("everything at its largest", having(*texts, *names, *numbers, *maps, base=FULL))


# ── what the server refuses ─────────────────────────────────────────────────────────────────


def invalid() -> Iterator[Json]:
    yield from invalid_required()
    yield from invalid_types()
    yield from invalid_texts()
    yield from invalid_names()
    yield from invalid_digests()
    yield from invalid_ping_ids()
    yield from invalid_timestamps()
    yield from invalid_numbers()
    yield from invalid_maps()
    yield from invalid_characters()
    yield from invalid_depth()
    yield from malformed()


def invalid_required() -> Iterator[Json]:
    for path in REQUIRED:
        yield refusal(f"no {path}", path, "missing_field", lacking(path))
    for section, path in (("privacy", "privacy.level"), ("license", "license.status")):
        yield refusal(f"no section {section}", path, "missing_field", lacking(section))
    dotted = {**lacking("license"), "license.status": "licensed"}
    yield refusal("a dotted key is not a section", "license.status", "missing_field", dotted)


def invalid_types() -> Iterator[Json]:
    for name, value in (("array", []), ("text", "ping"), ("number", 1), ("null", None), ("boolean", True)):
        yield refusal(f"a ping that is {name}", "", "wrong_type", value)
    for section in SECTIONS:
        for name, value in (("text", "x"), ("number", 1), ("array", [{}])):
            yield wrong(f"section {section} is {name}", section, value, "wrong_type")
    for section in REQUIRED_SECTIONS:
        for name, value in (("null", None), ("an empty array", [])):
            yield wrong(f"section {section} is {name}", section, value, "wrong_type")
    for path in REQUIRED:
        yield wrong(f"{path} is null", path, None, "wrong_type")
    for path, value in NOT_TEXT.items():
        yield wrong(f"{path} is no text", path, value, "wrong_type")


def invalid_texts() -> Iterator[Json]:
    for path, length in MAX_LENGTH.items():
        yield wrong(f"{path} of {length + 1} characters", path, "ä" * (length + 1), "too_long")
    for path in ("reason", "privacy.level", "license.status", "license.source"):
        yield wrong(f"{path} of no known value", path, "perhaps", "unknown_value")
        yield wrong(f"{path} is empty", path, "", "unknown_value")
    yield wrong("license.status in capitals", "license.status", "LICENSED", "unknown_value")


def invalid_names() -> Iterator[Json]:
    for path in NAMES:
        yield wrong(f"{path} in capitals", path, "KVM", "bad_format")
    for name, text in (
        ("that is empty", ""),
        ("of 65 characters", "n" * 65),
        ("starting with a dot", ".kvm"),
        ("starting with a dash", "-kvm"),
        ("with a space", "linux kvm"),
        ("with a letter beyond ASCII", "ünix"),
        ("with a digit beyond ASCII", "kvm\N{ARABIC-INDIC DIGIT ONE}"),
        ("ending in a line feed", "kvm\n"),
    ):
        yield wrong(f"a name {name}", "virtualization.vm", text, "bad_format")


def invalid_digests() -> Iterator[Json]:
    for name, text in (
        ("in capitals", DIGEST.upper()),
        ("of 63 digits", DIGEST[:-1]),
        ("of 65 digits", DIGEST + "0"),
        ("with a letter that is no digit", "g" + DIGEST[1:]),
        ("that is empty", ""),
        ("ending in a line feed", DIGEST + "\n"),
        ("with its algorithm's name", "sha256:" + DIGEST),
    ):
        yield wrong(f"a digest {name}", "license.key_digest", text, "bad_format")


def invalid_ping_ids() -> Iterator[Json]:
    for name, text in (
        ("that is empty", ""),
        ("one digit short", MINIMAL["ping_id"][:-1]),
        ("with a letter that is no digit", MINIMAL["ping_id"][:-1] + "g"),
        ("in braces", "{" + MINIMAL["ping_id"] + "}"),
        ("as a URN", "urn:uuid:" + MINIMAL["ping_id"]),
        ("ending in a line feed", MINIMAL["ping_id"] + "\n"),
    ):
        yield wrong(f"a ping id {name}", "ping_id", text, "bad_format")


def invalid_timestamps() -> Iterator[Json]:
    for name, text in (
        ("without an offset", "2026-11-22T09:59:58"),
        ("without a time", "2026-11-22"),
        ("without seconds", "2026-11-22T09:59Z"),
        ("of the second 61", "2016-12-31T23:59:61Z"),
        ("with an offset of hours only", "2026-11-22T09:59:58+05"),
        ("with an offset of a day", "2026-11-22T09:59:58+24:00"),
        ("with a comma", "2026-11-22T09:59:58,004Z"),
        ("with a point and no fraction", "2026-11-22T09:59:58.Z"),
        ("in ISO 8601's basic form", "20261122T095958Z"),
        ("of a week date", "2026-W47-7T09:59:58Z"),
        ("of a day that isn't", "2026-02-29T09:59:58Z"),
        ("of a thirteenth month", "2026-13-01T09:59:58Z"),
        ("of the hour 24", "2026-11-22T24:00:00Z"),
        ("in digits beyond ASCII", "\N{FULLWIDTH DIGIT TWO}026-11-22T09:59:58Z"),
        ("in words", "yesterday"),
        ("that is empty", ""),
        ("after a space", " 2026-11-22T09:59:58Z"),
        ("ending in a line feed", "2026-11-22T09:59:58Z\n"),
    ):
        yield wrong(f"a timestamp {name}", "occurred_at", text, "bad_format")
    for path in ("license.expires_at", "usage.since"):
        yield wrong(f"{path} without an offset", path, "2026-11-22T09:59:58", "bad_format")


def invalid_numbers() -> Iterator[Json]:
    yield wrong("sequence 0", "sequence", 0, "out_of_range")
    yield wrong("sequence below 0", "sequence", -1, "out_of_range")
    for name, digits in (
        ("2^53", "9007199254740992"),
        ("2^64", "18446744073709551616"),
        ("10^40", "1" + "0" * 40),
        ("10^400", "1" + "0" * 400),
        ("1e400", "1e400"),
    ):
        yield refusal(f"sequence {name}", "sequence", "out_of_range", raw=with_sequence(digits))
    yield refusal("sequence -2^63 - 1", "sequence", "out_of_range", raw=with_sequence("-9223372036854775809"))
    for name, value in (("text", "1"), ("boolean", True), ("array", [1]), ("fraction", 1.5)):
        yield wrong(f"sequence is {name}", "sequence", value, "wrong_type")
    for path in ("outbox.evicted", "outbox.refused", "outbox.unsaved"):
        yield wrong(f"{path} below 0", path, -1, "out_of_range")
        yield wrong(f"{path} 2^53", path, 2**53, "out_of_range")
        yield wrong(f"{path} is boolean", path, False, "wrong_type")


def invalid_maps() -> Iterator[Json]:
    yield wrong("257 features", "usage.features", features(257), "too_many")
    yield wrong("17 parts of a fingerprint", "host.fingerprint", fingerprint(17), "too_many")
    yield wrong("features in an array", "usage.features", [{"invoice.created": 12}], "wrong_type")
    yield wrong("a fingerprint in an array", "host.fingerprint", [DIGEST], "wrong_type")
    for name in ("", "Invoice", "invoice created", "_invoice", "x" * 65, "facturé", "invoice\n", "$where"):
        yield wrong(f"a feature named {name!r}", "usage.features", {name: 1}, "bad_format")
    yield wrong("a fingerprint part in capitals", "host.fingerprint", {"MAC": DIGEST}, "bad_format")
    for code, count in (
        *(("wrong_type", value) for value in ("12", 1.5, True, None, {"count": 1}, [1])),
        *(("out_of_range", value) for value in (-1, 2**53)),
    ):
        yield wrong(
            f"a feature counted {json.dumps(count)}", "usage.features", {"invoice.created": count}, code
        )
    for code, digest in (
        ("wrong_type", None),
        ("wrong_type", 1),
        ("bad_format", DIGEST.upper()),
        ("bad_format", ""),
    ):
        yield wrong(f"a fingerprint part {digest!r}", "host.fingerprint", {"mac": digest}, code)


def invalid_characters() -> Iterator[Json]:
    places = [
        *((path, having((path, "a\0b"))) for path in MAX_LENGTH),
        ("a feature's name", having(("usage.features", {"a\0b": 1}))),
        ("a fingerprint part's name", having(("host.fingerprint", {"a\0b": DIGEST}))),
        ("an unknown key", {**MINIMAL, "a\0b": 1}),
        ("an unknown text", {**MINIMAL, "note": "\0"}),
        ("an unknown section", {**MINIMAL, "disk": {"name": ["sda\0"]}}),
    ]
    for place, ping in places:
        yield refusal(f"U+0000 in {place}", "", "forbidden_character", ping)


def invalid_depth() -> Iterator[Json]:
    for name, array in (("objects", False), ("arrays", True)):
        yield refusal(f"{name} nine deep", "", "too_deep", {**MINIMAL, "x": nested(8, array=array)})
        yield refusal(f"{name} 200 deep", "", "too_deep", {**MINIMAL, "x": nested(199, array=array)})
    yield refusal("objects nine deep in a known section", "", "too_deep", having(("license.x", nested(7))))


def malformed() -> Iterator[Json]:
    for name, text in (
        ("NaN", with_sequence("NaN")),
        ("Infinity", with_sequence("Infinity")),
        ("-Infinity in an unknown key", with_sequence('1,"x":-Infinity')),
        ("a number with a leading zero", with_sequence("01")),
        ("a number in hexadecimal", with_sequence("0x1")),
        ("a comma too many", with_sequence("1,")),
        ("a comment", with_sequence("1/* one */")),
        ("a lone high surrogate", with_source_detail(r"\ud800")),
        ("a lone low surrogate", with_source_detail(r"\udc00")),
        ("surrogates in the wrong order", with_source_detail(r"\ude00\ud83d")),
        ("a high surrogate before a letter", with_source_detail(r"\ud83dx")),
        ("a lone surrogate in an unknown key", with_sequence(r'1,"\ud800":1')),
        ("an escape that isn't", with_source_detail(r"\x00")),
        ("a line feed inside a text", with_source_detail("a\nb")),
        ("a raw U+0000 inside a text", with_source_detail("a\0b")),
        ("single quotes", json.dumps(MINIMAL).replace('"', "'")),
        ("the end missing", json.dumps(MINIMAL)[:-1]),
        ("more after the end", json.dumps(MINIMAL) + "]"),
        ("a byte order mark", "\ufeff" + json.dumps(MINIMAL)),
        ("no JSON at all", "ping"),
    ):
        yield refusal(name, "", "malformed", raw=text)


def with_sequence(text: str) -> str:
    return json.dumps(having(("sequence", "?"))).replace('"?"', text)


def with_source_detail(text: str) -> str:
    return json.dumps(having(("license.source_detail", "?"))).replace("?", text)


def spread(ping: Json) -> str:
    return "\n" + json.dumps(ping, indent="\t", ensure_ascii=False) + "\t"


def entry(name: str, ping: Any = ..., *, raw: str = "", **more: Any) -> Json:
    return {"name": name, **({"raw": raw} if raw else {"ping": ping}), **more}


def wrong(name: str, path: str, value: Any, code: str) -> Json:
    return refusal(name, path, code, having((path, value)))


def refusal(name: str, field: str, code: str, ping: Any = ..., *, raw: str = "") -> Json:
    return entry(name, ping, raw=raw, field=field, code=code)
