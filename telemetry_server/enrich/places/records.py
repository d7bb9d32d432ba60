"""Reads the facts in a record of a GeoIP database of any maker.

Two shapes are in use: the nested one of MaxMind and DB-IP (`country.iso_code`, `city.names.en`,
`autonomous_system_number`, `is_hosting_provider`) and flat ones (`country_code`, `city`, `asn`, `org`,
`hosting`). Facts are fit to be stored: text has at most 256 characters, no U+0000, and its steering
characters are written out; a value of the wrong type counts as absent.
"""

import re
from enum import StrEnum
from typing import Any, TypedDict

from telemetry_server.text import written_out

MAX_TEXT = 256
MAX_ASN = 2**32 - 1

# Codes that some databases use for "somewhere"; they are not countries.
NO_COUNTRY = frozenset({"AP", "EU", "XX", "ZZ"})

Record = dict[str, Any]


class DatabaseKind(StrEnum):
    """The subject of a database, in the order of look-ups: the more exact first."""

    CITY = "city"
    COUNTRY = "country"
    ASN = "asn"
    HOSTING = "hosting"

    @property
    def filename(self) -> str:
        return f"{self}.mmdb"


class Facts(TypedDict, total=False):
    """`country` is an ISO 3166-1 alpha-2 code, `asn` the number without "AS"."""

    country: str
    region: str
    city: str
    asn: int
    organisation: str
    hosting: bool


def facts(kind: DatabaseKind, record: Record) -> Facts:
    """The facts in `record` about the subject of `kind`; empty if there are none."""
    if kind is DatabaseKind.HOSTING:
        # Such a database has no record of most networks; a missing fact means no.
        said = record.get("is_hosting_provider", record.get("hosting"))
        return {"hosting": True} if said is True or said == "true" else {}
    if kind is DatabaseKind.ASN:
        return _operator(record)
    known = _country(record)
    if kind is DatabaseKind.CITY:
        divisions = record.get("subdivisions")
        widest = divisions[0] if isinstance(divisions, list) and divisions else None
        if region := _name(widest or record.get("region") or record.get("state1")):
            known["region"] = region
        if city := _name(record.get("city")):
            known["city"] = city
    return known


def is_of(kind: DatabaseKind, record: Record) -> bool:
    """Whether `record` has the main fact of databases of `kind`."""
    known = facts(kind, record)
    return ("city" in known or "region" in known) if kind is DatabaseKind.CITY else kind.value in known


def _country(record: Record) -> Facts:
    nested = record.get("country")
    code = nested.get("iso_code") if isinstance(nested, dict) else record.get("country_code", nested)
    if not isinstance(code, str) or len(code) != len("XX") or not (code.isascii() and code.isalpha()):
        return {}
    code = code.upper()
    return {} if code in NO_COUNTRY else {"country": code}


def _operator(record: Record) -> Facts:
    known: Facts = {}
    if (number := _as_number(record.get("autonomous_system_number", record.get("asn")))) is not None:
        known["asn"] = number
    names = map(text, map(record.get, ("autonomous_system_organization", "as_name", "org", "name")))
    if name := next(filter(None, names), None):
        known["organisation"] = name
    return known


def _as_number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch("(AS)?[0-9]{1,10}", value, re.ASCII):
        value = int(value.removeprefix("AS"))
    return value if type(value) is int and 0 < value <= MAX_ASN else None  # a boolean is an int, too


def _name(value: object) -> str | None:
    """The English name of a place, nested as `names.en` or plain."""
    if not isinstance(value, dict):
        return text(value)
    names = value.get("names")
    return text(names.get("en")) if isinstance(names, dict) else None


def text(value: object) -> str | None:
    """`value` if it is a string that is not blank, in a form that PostgreSQL stores; else None."""
    if not isinstance(value, str):
        return None
    return written_out(value.replace("\0", "").strip())[:MAX_TEXT] or None
