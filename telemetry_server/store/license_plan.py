"""What rows about licenses come to, before anything is written. Compares; neither reads nor writes.

A row is new, changed or unchanged, or it is wrong and says why. A wrong row leaves nothing behind, not
even its customer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias
from uuid import UUID

from msgspec import UNSET

from telemetry_server.errors import FieldProblem
from telemetry_server.model import (
    Customer,
    CustomerPatch,
    License,
    LicensePatch,
    LicenseRow,
    LicenseStatus,
    LicenseType,
    Overage,
)
from telemetry_server.store.customers import FIELDS as CUSTOMER_FIELDS
from telemetry_server.store.customers import draft_of as customer_draft
from telemetry_server.store.customers import is_named, patched
from telemetry_server.store.registry import Draft, Entity, Fields, Outcome
from telemetry_server.uuid7 import uuid7

PATCHED = tuple(each.name for each in fields(LicensePatch) if each.name not in {"customer", "customer_id"})
FIELDS = (*PATCHED, "customer_id")
DEFAULTS: Fields = {
    **dict.fromkeys(FIELDS),
    "status": LicenseStatus.ACTIVE,
    "type": LicenseType.PURCHASED,
    "overage": Overage.NONE,
    "domains": (),
    "addresses": (),
    "directories": (),
    "free_environments": ("development", "staging"),
    "custom": {},
}
HINT_LENGTH, SHORTEST_HINTED_KEY = 4, 8  # as the SDK has them, so that two hints of one key are equal
NO_HINT = "…"

Identity: TypeAlias = bytes | UUID
"""Which license a row is about: the hash of its key, or its id."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a row: `before` and `after` hold the fields that change; problems name fields."""

    line: int
    outcome: Outcome
    license_id: UUID | None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptCustomer:
    """A customer that rows made or changed; `before` is None where it was made."""

    customer_id: UUID
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of rows that came together: of each of them, in their order, and of their customers."""

    rows: list[Kept]
    customers: list[KeptCustomer]


@dataclass(frozen=True, slots=True)
class Known:
    """What there is already: licenses by whatever rows may name them by, customers by e-mail and by id."""

    licenses: Mapping[Identity, License]
    by_email: Mapping[str, Customer]
    by_id: Mapping[UUID, Customer]


class Wrong(Exception):
    """The row cannot be carried out."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = FieldProblem(f"/{name}", detail)


class Plan:
    """Takes rows in turn; then holds what is to be written."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._rows: dict[Identity, LicenseRow] = {}
        self._customers_by_email: dict[str, Draft] = {}
        self.licenses: dict[Identity, Draft] = {}
        self.customers: dict[UUID, Draft] = {}

    def take(self, row: LicenseRow, identity: Identity) -> Kept:
        """What the row comes to."""
        try:
            draft = self._take(row, identity)
        except Wrong as wrong:
            return Kept(row.line, Outcome.WRONG, None, problems=(wrong.problem,))
        license_id = draft.uuid
        if self._rows[identity] is not row or draft.outcome is Outcome.UNCHANGED:
            return Kept(row.line, Outcome.UNCHANGED, license_id)
        return Kept(row.line, draft.outcome, license_id, draft.before(), draft.after())

    def _take(self, row: LicenseRow, identity: Identity) -> Draft:
        if (earlier := self._rows.get(identity)) is not None:
            if (earlier.key, earlier.patch) != (row.key, row.patch):
                raise Wrong("key", f"line {earlier.line} is about the same license, and says otherwise")
            return self.licenses[identity]
        draft = self._draft(row, identity)
        draft.fields = _with_defaults(patched(draft.fields, row.patch, PATCHED))
        _check_dates(draft.fields)
        draft.fields["customer_id"] = self._customer_of(row.patch, draft.fields["customer_id"])
        self._rows[identity] = row
        self.licenses[identity] = draft
        return draft

    def _draft(self, row: LicenseRow, identity: Identity) -> Draft:
        present = self._known.licenses.get(identity)
        if present is not None:
            was = {name: getattr(present, name) for name in FIELDS}
            return Draft(Entity.LICENSE, present.license_id, was, dict(was))
        if row.key is None:
            raise Wrong("license_id", "no license of this product has this id")
        return Draft(Entity.LICENSE, uuid7(), None, dict(DEFAULTS))

    # ── customers ───────────────────────────────────────────────────────────────────────────

    def _customer_of(self, patch: LicensePatch, now: UUID | None) -> UUID | None:
        if patch.customer_id is not UNSET:
            if patch.customer_id is not None and patch.customer_id not in self._known.by_id:
                raise Wrong("customer_id", "there is no customer of this id")
            return patch.customer_id
        if patch.customer is UNSET:
            return now
        if patch.customer is None:
            return None
        return self._patch_customer(patch.customer, now)

    def _patch_customer(self, patch: CustomerPatch, now: UUID | None) -> UUID | None:
        draft = self._customer_draft(patch, now)
        after = patched(draft.fields, patch, CUSTOMER_FIELDS)
        if draft.was is None and not any(after.values()):
            return now
        if not is_named(after):
            raise Wrong("customer_email", "a customer needs an e-mail, a name or a company")
        draft.fields = after
        self.customers[draft.uuid] = draft
        if isinstance(patch.email, str):
            self._customers_by_email[patch.email] = draft
        return draft.uuid

    def _customer_draft(self, patch: CustomerPatch, now: UUID | None) -> Draft:
        """The one the patch is about: of its e-mail; without one, the license's own, or a new one."""
        if isinstance(patch.email, str):
            if (draft := self._customers_by_email.get(patch.email)) is not None:
                return draft
            return self._known_draft(self._known.by_email.get(patch.email))
        present = self._known.by_id.get(now) if now else None
        if patch.email is None and present is not None and present.email is not None:
            present = None
        return self._known_draft(present)

    def _known_draft(self, customer: Customer | None) -> Draft:
        if customer is not None and (draft := self.customers.get(customer.customer_id)) is not None:
            return draft
        return customer_draft(customer, CustomerPatch())


def kept_customers(plan: Plan) -> list[KeptCustomer]:
    """The customers that are new or change."""
    return [
        KeptCustomer(draft.uuid, draft.before(), draft.after())
        for draft in plan.customers.values()
        if draft.outcome is not Outcome.UNCHANGED
    ]


def hint_of(key: str) -> str:
    """The last characters of a key, for people who compare two; nothing of one that is short."""
    bare = key.strip()
    return bare[-HINT_LENGTH:] if len(bare) >= SHORTEST_HINTED_KEY else NO_HINT


def rows_to_add(plan: Plan, keys: Mapping[Identity, str]) -> list[Fields]:
    """The new licenses as rows of the table."""
    return [
        {
            "license_id": draft.uuid,
            "key_hash": identity,
            "key_hint": hint_of(keys[identity]),
            **draft.fields,
        }
        for identity, draft in plan.licenses.items()
        if draft.outcome is Outcome.NEW
    ]


def rows_to_change(drafts: Sequence[Draft]) -> list[Fields]:
    """The changed licenses as rows of the table."""
    return [
        {"license_id": draft.uuid, **draft.fields} for draft in drafts if draft.outcome is Outcome.CHANGED
    ]


def _with_defaults(row: Fields) -> Fields:
    return {name: DEFAULTS[name] if value is None else value for name, value in row.items()}


def _check_dates(row: Fields) -> None:
    starts, expires = row["starts_at"], row["expires_at"]
    if starts is not None and expires is not None and starts >= expires:
        raise Wrong("expires_at", f"{expires:%Y-%m-%d} is not after starts_at, {starts:%Y-%m-%d}")
