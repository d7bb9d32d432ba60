"""What requests and answers look like, as JSON Schema, by the names routes use.

What the field registry declares is made from it; the rest is written down here.
"""

from collections.abc import Iterable
from typing import Any

from telemetry_server.check.fields import LARGEST_INTEGER, Field, Registry
from telemetry_server.check.schema import ping_json_schema, upload_json_schema
from telemetry_server.model import (
    STATUS_AFTER,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Lifecycle,
    Overage,
    Reason,
    Status,
    Verdict,
)
from telemetry_server.show.serializers import PLACE, detail_fields, fact_fields
from telemetry_server.store.registry.history import ChangeOutcome

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SWITCH: Schema = {"type": "boolean"}
_SIMULATED: Schema = _SWITCH | {"description": "The product's fleet was made up by the simulator."}
_ID: Schema = {"type": "string", "format": "uuid"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_DAY: Schema = {"type": "string", "format": "date"}
_COUNTERS: Schema = {"type": "object", "additionalProperties": _COUNT}
_SEQUENCE: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_INTEGER}


def schemas(registry: Registry) -> dict[str, Schema]:
    """Every schema of the OpenAPI document by name."""
    return {
        **_protocol(registry),
        **_fleet(registry),
        **_registry(),
        "Health": _object(status={"const": "ok"}, version=_TEXT),
        "Readiness": _object(
            status={"enum": ["ready", "degraded", "not ready"]},
            version=_TEXT,
            checks=_many(_object(name=_TEXT, ok=_SWITCH, detail=_TEXT, needed=_SWITCH)),
        ),
        "JsonSchema": {"type": "object", "description": "A JSON Schema, draft 2020-12."},
        "OpenApi": {"type": "object", "description": "An OpenAPI 3.1 document: this one."},
        "SignIn": _object(token=_TEXT, next=_TEXT) | {"required": ["token"]},
        "SignOut": _object(csrf_token=_TEXT) | {"required": []},
        "Problem": _PROBLEM,
    }


def _protocol(registry: Registry) -> dict[str, Schema]:
    enrolment_request = _object(forked_from=_nullable(_ID)) | {"required": []}
    enrolment_request["description"] = (
        "Empty, or of a forked copy: its former id, with the signature header made with its former secret."
    )
    result = _object(
        ping_id=_nullable(_TEXT),
        sequence=_nullable(_NUMBER),
        status={"enum": [status.value for status in Status]},
        code={"enum": [reason.value for reason in Reason], "description": "Why a ping was rejected."},
        detail=_TEXT,
    ) | {"required": ["ping_id", "sequence", "status"]}
    return {
        "Ping": ping_json_schema(registry),
        "Upload": upload_json_schema(registry, _reference("Ping")),
        "UploadAnswer": _object(
            upload_id=_nullable(_ID),
            results=_many(result) | {"description": "In the order sent."},
            missing=_RANGES | {"description": "Numbers that never came; send again what is still there."},
            next_ping_seconds=_COUNT,
            notices={"type": "array"},
            server_time=_MOMENT,
        ),
        "EnrolmentRequest": enrolment_request,
        "Enrolment": _object(
            installation_id=_ID,
            secret=_TEXT | {"description": "32 bytes in base64url without padding."},
            key=_TEXT | {"description": "The id of the master key; goes into the signature header."},
            product=_TEXT | {"description": "The product's slug."},
            next_ping_seconds=_COUNT,
            notice=_nullable(_object(version=_TEXT, url=_TEXT)),
            server_time=_MOMENT,
        ),
    }


def _fleet(registry: Registry) -> dict[str, Schema]:
    declared = ping_json_schema(registry)["properties"] | upload_json_schema(registry, {})["properties"]
    facts, details = _sections(declared, fact_fields()), _sections(declared, detail_fields())
    installation = _INSTALLATION | facts | {"place": _PLACE}
    ping = _PING | details | facts | {"place": _PLACE, "features": _COUNTERS}
    return {
        "Installation": _object(**installation),
        "InstallationDetail": _object(**installation, **_DETAIL),
        "PingShown": _object(**ping),
        "Product": _PRODUCT,
        "Installations": _page_of("Installation"),
        "Pings": _page_of("PingShown"),
        "Change": _CHANGE,
        "Changes": _page_of("Change"),
        "Products": _page_of("Product"),
        "FleetCounts": _FLEET_COUNTS,
        "FeatureCounts": _FEATURE_COUNTS,
        "Cohorts": _COHORTS,
    }


def _registry() -> dict[str, Schema]:
    license_change = _object(**_LICENSE_FIELDS, reason=_TEXT) | {"required": []}
    new_license = _object(product=_TEXT, key=_TEXT, **license_change["properties"])
    row = _object(line=_NUMBER, column=_nullable(_TEXT), detail=_TEXT)
    change = _object(line=_NUMBER, license_id=_ID, before=_nullable(_FREE), after=_FREE)
    return {
        "License": _LICENSE,
        "LicenseDetail": _object(**_LICENSE["properties"], changes=_REGISTRY_CHANGES),
        "Licenses": _page_of("License"),
        "NewLicense": new_license | {"required": ["product", "key"]},
        "LicenseChange": license_change,
        "LicenseFile": {"type": "string", "description": "CSV or NDJSON, as docs/licenses.md describes it."},
        "LicenseImport": _object(
            dry_run=_SWITCH,
            **{outcome.value: _COUNT for outcome in ChangeOutcome},
            never_matching=_COUNT | {"description": "Rows with addresses that no copy can match."},
            problems=_many(row),
            changes=_many(change),
        ),
        "Customer": _CUSTOMER,
        "CustomerDetail": _object(**_CUSTOMER["properties"], changes=_REGISTRY_CHANGES),
        "Customers": _page_of("Customer"),
        "CustomerChange": _object(**_CUSTOMER_FIELDS, reason=_TEXT) | {"required": []},
        "ShopMessage": _object(
            type={"type": "string", "examples": sorted(STATUS_AFTER)},
            timestamp=_MOMENT,
            data={
                "type": "object",
                "description": "product and key, and any column of a license import.",
                "required": ["product", "key"],
            },
        )
        | {"required": ["type", "data"]},
    }


def _sections(declared: dict[str, Schema], shown: Iterable[Field]) -> dict[str, Schema]:
    """The sections as the API shows them: every field there, null where it is unknown."""
    shaped: dict[str, Schema] = {}
    for field in shown:
        if field.section:
            schema = declared[field.section]["properties"][field.name]
            section = shaped.setdefault(field.section, _object())
            section["properties"][field.name] = _nullable(schema)
            section["required"].append(field.name)
        else:
            shaped[field.name] = _nullable(declared[field.name])
    return shaped


def _page_of(name: str) -> Schema:
    following = _nullable(_TEXT) | {"description": "Path and query of the next page; null on the last."}
    return _object(items=_many(_reference(name)), next=following)


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_RANGES: Schema = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [_SEQUENCE, _SEQUENCE], "minItems": 2, "maxItems": 2},
    "description": "Half-open: [from, to).",
}
_PROBLEM: Schema = {
    **_object(type=_TEXT, title=_TEXT, status=_NUMBER, detail=_TEXT, code=_TEXT),
    "description": "What went wrong (RFC 9457). Tell cases apart by code.",
}
_PROBLEM["properties"]["errors"] = _many(
    _object(pointer=_TEXT | {"description": "JSON Pointer (RFC 6901)."}, detail=_TEXT)
)

_NULLABLE_TEXT, _NULLABLE_NUMBER = _nullable(_TEXT), _nullable(_NUMBER)
_PLACE = _object(
    **dict.fromkeys(PLACE, _NULLABLE_TEXT)
    | {"asn": _NULLABLE_NUMBER, "prefix_length": _NULLABLE_NUMBER, "hosting": _nullable(_SWITCH)}
) | {"description": "Approximate: what a database built_on that day says of a network of prefix_length."}
_VERDICT: Schema = {"enum": [verdict.value for verdict in Verdict]}
_INSTALLATION: Schema = {
    "installation_id": _ID,
    "product": _TEXT,
    "simulated": _SIMULATED,
    "first_received_at": _MOMENT,
    "last_received_at": _MOMENT,
    "last_occurred_at": _MOMENT,
    "last_sequence": _SEQUENCE,
    "pings": _COUNT | {"description": "Pings that came, each counted once."},
    "missing": _COUNT | {"description": "Numbers below the highest that have not come yet."},
    "lost": _COUNT | {"description": "Numbers that were given up."},
    "client_address": _NULLABLE_TEXT,
    "verdict": _VERDICT | {"description": "What the registry says of the claim today."},
    "claim_mismatch": _SWITCH | {"description": "license.status contradicts the verdict."},
    "source_mismatch": _SWITCH | {"description": "license.source is another one than the registry's."},
    "judged_at": _MOMENT | {"description": "When that was found out."},
    "license_id": _nullable(_ID) | {"description": "The license that has its key."},
    "life": {"enum": [life.value for life in Lifecycle]},
    "life_since": _MOMENT,
}
_FORK = _object(
    sequence=_SEQUENCE,
    ping_id=_ID,
    stored_ping_id=_ID,
    received_at=_MOMENT,
    occurred_at=_MOMENT,
    client_address=_NULLABLE_TEXT,
    place=_PLACE,
)
_DETAIL: Schema = {
    "received_ranges": _RANGES,
    "missing_ranges": _RANGES,
    "features": _COUNTERS | {"description": "Uses over the pings that are kept."},
    "fork_count": _COUNT,
    "forks": _many(_FORK) | {"description": "The newest hundred."},
    "hostname": _NULLABLE_TEXT | {"description": "What the DNS says of client_address; approximate."},
    "hostname_looked_up_at": _nullable(_MOMENT),
    "parent_id": _nullable(_ID) | {"description": "The identity this copy had before it was forked."},
    "children": _many(_ID),
}
_PING: Schema = {
    "ping_id": _ID,
    "sequence": _SEQUENCE,
    "installation_id": _ID,
    "product": _TEXT,
    "simulated": _SIMULATED,
    "received_at": _MOMENT,
    "occurred_at": _MOMENT,
    "time_suspect": _SWITCH,
    "client_address": _NULLABLE_TEXT,
    "verdict": _nullable(_VERDICT)
    | {"description": "What the registry said of the claim when the ping came; null: there was none then."},
    "claim_mismatch": _nullable(_SWITCH),
    "source_mismatch": _nullable(_SWITCH),
}
_CHANGE = _object(
    installation_id=_ID,
    product=_TEXT,
    simulated=_SIMULATED,
    changed_at=_MOMENT | {"description": "When the server learned it."},
    sequence=_SEQUENCE | {"description": "The ping that told it; of a verdict or a life, the last before."},
    field=_TEXT | {"description": "As in the installation, e.g. service.version; or verdict, or life."},
    before=_NULLABLE_TEXT,
    after=_NULLABLE_TEXT,
)
_FREE: Schema = {"type": "object"}
_TEXTS = _many(_TEXT)
_NULLABLE_MOMENT = _nullable(_MOMENT)
_CUSTOMER_FIELDS: Schema = {
    **dict.fromkeys(("email", "name", "company", "tax_id", "technical_contact", "account"), _NULLABLE_TEXT),
    "custom": _FREE,
}
_CUSTOMER = _object(customer_id=_ID, **_CUSTOMER_FIELDS, created_at=_MOMENT, updated_at=_MOMENT)
_LICENSE_FIELDS: Schema = {
    "customer_id": _nullable(_ID),
    "status": {"enum": [status.value for status in LicenseStatus]},
    "type": {"enum": [kind.value for kind in LicenseType]},
    "source": _nullable({"enum": [source.value for source in LicenseSource]}),
    "source_detail": _NULLABLE_TEXT,
    "order_reference": _NULLABLE_TEXT,
    "edition": _NULLABLE_TEXT,
    "seats": _nullable(_COUNT) | {"description": "Installations that may run on it; null: any number."},
    "overage": {"enum": [overage.value for overage in Overage]},
    "domains": _TEXTS,
    "addresses": _TEXTS,
    "addresses_enforced": _SWITCH | {"description": "Whether another address is a wrong_place."},
    "directories": _TEXTS,
    "free_environments": _TEXTS,
    "starts_at": _NULLABLE_MOMENT | {"description": "A date is that day in the product's time zone."},
    "expires_at": _NULLABLE_MOMENT | {"description": "It is good until then; a date: through that day."},
    "custom": _FREE,
}
_LICENSE = _object(
    license_id=_ID,
    product_id=_ID,
    product=_TEXT,
    simulated=_SIMULATED,
    key_hint=_TEXT | {"description": "The last characters of the key; the key itself is nowhere."},
    **_LICENSE_FIELDS,
    time_zone=_TEXT | {"description": "Of its product, in which dates are days."},
    first_day=_nullable(_DAY) | {"description": "The day it starts."},
    last_day=_nullable(_DAY) | {"description": "The last day on which it is good."},
    seats_used=_COUNT,
    created_at=_MOMENT,
    updated_at=_MOMENT,
)
_REGISTRY_CHANGES = _many(
    _object(changed_at=_MOMENT, actor=_TEXT, reason=_NULLABLE_TEXT, before=_nullable(_FREE), after=_FREE)
) | {"description": "The newest hundred."}
_PRODUCT = _object(
    slug=_TEXT,
    name=_TEXT,
    ping_interval_seconds=_COUNT,
    created_at=_MOMENT,
    simulated=_SIMULATED,
    product_keys=_many(_TEXT),
    installations=_COUNT,
)
_COUNTED_UNTIL = _nullable(_MOMENT) | {
    "description": "Pings received until then are counted, those that were committed late within a quarter "
    "of an hour; null: no roll-up ran yet."
}
_SIMULATED_IN = _many(_TEXT) | {"description": "The slugs of the products counted here that are made up."}
_IN_A_STEP = "Heard of on that day of the step which had the most: at least so many in the step."
_FLEET_COUNTS = _object(
    by=_TEXT,
    step=_nullable(_TEXT) | {"description": "null: now."},
    items=_many(
        _object(
            day=_nullable(_DAY) | {"description": "The first day of the step; null: now."},
            value=_nullable(_TEXT) | {"description": "null: values too rare to be named; empty: by all."},
            installations=_COUNT | {"description": f"All of them now. Over time: {_IN_A_STEP}"},
            pings=_nullable(_COUNT) | {"description": "In the step; null: now."},
        )
    ),
    counted_until=_COUNTED_UNTIL,
    simulated=_SIMULATED_IN,
)
_FEATURE_COUNTS = _object(
    step=_TEXT,
    items=_many(
        _object(
            day=_nullable(_DAY) | {"description": "The first day of the step; null: in total."},
            feature=_TEXT,
            uses=_COUNT,
            installations=_COUNT | {"description": _IN_A_STEP},
        )
    ),
    counted_until=_COUNTED_UNTIL,
    simulated=_SIMULATED_IN,
)
_COHORTS = _object(
    items=_many(
        _object(
            cohort=_DAY | {"description": "Monday of the week of the first ping."},
            week=_DAY | {"description": "Its Monday."},
            active=_COUNT
            | {"description": "Of the cohort, heard of in that week; in the first, the new ones."},
            lost=_COUNT,
            returned=_COUNT,
        )
    ),
    counted_until=_COUNTED_UNTIL,
    simulated=_SIMULATED_IN,
)
