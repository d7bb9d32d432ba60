"""The result of rows about licenses, before anything is written. Pure: neither reads nor writes.

A row is new, changed, unchanged or wrong, with a reason. A wrong row has no effect, also not on its customer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self, TypeAlias
from uuid import UUID

from msgspec import UNSET, UnsetType

from telemetry_server.check.days import beginning, end
from telemetry_server.check.licenses.rows import RowProblem
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
from telemetry_server.store.registry.customers import FIELDS as CUSTOMER_FIELDS
from telemetry_server.store.registry.customers import draft_of as customer_draft
from telemetry_server.store.registry.customers import is_named, patched
from telemetry_server.store.registry.history import ChangeOutcome, Draft, Entity, Fields
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
    "addresses_enforced": True,
    "directories": (),
    "free_environments": ("development", "staging"),
    "custom": {},
}
HINT_LENGTH, SHORTEST_HINTED_KEY = 4, 8  # as in the SDK, so that both hints of a key are equal
NO_HINT = "…"

Identity: TypeAlias = bytes | UUID
"""The license that a row is about: the hash of its key, or its id."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of a row: `before` and `after` have the fields that change; a wrong row has a `problem`."""

    line: int
    outcome: ChangeOutcome
    license_id: UUID | None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] = field(default_factory=dict)
    problem: RowProblem | None = None

    @classmethod
    def wrong(cls, line: int, column: str, detail: str) -> Self:
        return cls(line, ChangeOutcome.WRONG, None, problem=RowProblem(line, column, detail))


@dataclass(frozen=True, slots=True)
class Batch:
    """The results of rows, in their order, and the customers that are new or changed.

    `differing`: the lines of rows whose customer differs from that of an earlier row, which holds.
    `alike`: the lines of rows with a key that looks like another one, each with the line of the other.
    """

    rows: list[Kept]
    customers: list[Draft]
    differing: Sequence[int] = ()
    alike: Sequence[tuple[int, int]] = ()


class Wrong(Exception):
    """The row cannot be applied."""

    def __init__(self, column: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column


class Plan:
    """Takes rows one by one; then has the licenses and customers to be written.

    `found`: the existing licenses by identity; `by_*`: the existing customers by e-mail, account and id.
    `time_zone` is that of the product of new licenses.
    """

    def __init__(
        self,
        found: Mapping[Identity, License],
        by_email: Mapping[str, Customer],
        by_account: Mapping[str, Customer],
        by_id: Mapping[UUID, Customer],
        time_zone: str,
    ) -> None:
        self._found = found
        self._by_email = by_email
        self._by_account = by_account
        self._by_id = by_id
        self._time_zone = time_zone
        self._rows: dict[Identity, LicenseRow] = {}
        self._customers_by_email: dict[str, Draft] = {}
        self._customers_by_account: dict[str, Draft] = {}
        self.licenses: dict[Identity, Draft] = {}
        self.customers: dict[UUID, Draft] = {}

    def take(self, row: LicenseRow, identity: Identity) -> Kept:
        """The result of the row."""
        held = self.licenses.get(identity)
        was = None if held is None else dict(held.fields)
        try:
            draft = self._take(row, identity)
        except Wrong as wrong:
            return Kept.wrong(row.line, wrong.column, str(wrong))
        if not row.follows and self._rows[identity] is not row:
            return Kept(row.line, ChangeOutcome.REPEATED, draft.uuid)
        step = draft if was is None else Draft(draft.entity, draft.entity_id, was, draft.fields)
        if step.outcome is ChangeOutcome.UNCHANGED:
            return Kept(row.line, ChangeOutcome.UNCHANGED, draft.uuid)
        return Kept(row.line, step.outcome, draft.uuid, step.before(), step.after())

    def _take(self, row: LicenseRow, identity: Identity) -> Draft:
        earlier = self._rows.get(identity)
        if earlier is not None and not row.follows:
            if (earlier.key, earlier.patch) != (row.key, row.patch):
                raise Wrong("key", f"line {earlier.line} is about the same license, and says otherwise")
            return self.licenses[identity]
        draft = self.licenses.get(identity) or self._draft(row, identity)
        after = patched(draft.fields, row.patch, PATCHED)
        after = {name: DEFAULTS[name] if value is None else value for name, value in after.items()}
        self._resolve_days(after, identity)
        after["customer_id"] = self._customer_of(row.patch, draft.fields["customer_id"])
        draft.fields = after
        if not row.follows:
            self._rows[identity] = row
        self.licenses[identity] = draft
        return draft

    def _draft(self, row: LicenseRow, identity: Identity) -> Draft:
        present = self._found.get(identity)
        if present is not None:
            was = {name: getattr(present, name) for name in FIELDS}
            return Draft(Entity.LICENSE, present.license_id, was, dict(was))
        if row.key is None:
            raise Wrong("license_id", "no license of this product has this id")
        return Draft(Entity.LICENSE, uuid7(), None, dict(DEFAULTS))

    def _resolve_days(self, fields: Fields, identity: Identity) -> None:
        """Replaces dates by moments in the product's time zone."""
        present = self._found.get(identity)
        zone = self._time_zone if present is None else present.time_zone
        first, last = fields["starts_at"], fields["expires_at"]
        starts, expires = beginning(first, zone), end(last, zone)
        if starts is not None and expires is not None and starts >= expires:
            raise Wrong("expires_at", f"{last:%Y-%m-%d} is not after starts_at, {first:%Y-%m-%d}")
        fields |= {"starts_at": starts, "expires_at": expires}

    # ── customers ───────────────────────────────────────────────────────────────────────────

    def _customer_of(self, patch: LicensePatch, now: UUID | None) -> UUID | None:
        if patch.customer_id is not UNSET:
            if patch.customer_id is not None and patch.customer_id not in self._by_id:
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
        owner = self._draft_of_account(patch.account)
        if owner is not None and owner.uuid != draft.uuid:
            after["account"] = draft.fields["account"]  # they stay two customers until they are merged
        draft.fields = after
        self.customers[draft.uuid] = draft
        if isinstance(patch.email, str):
            self._customers_by_email[patch.email] = draft
        if after["account"] is not None:
            self._customers_by_account[after["account"]] = draft
        return draft.uuid

    def _customer_draft(self, patch: CustomerPatch, now: UUID | None) -> Draft:
        """The customer with the e-mail or account of the patch; else that of the license, or a new one."""
        present = self._by_id.get(now) if now else None
        if isinstance(patch.email, str):
            draft = self._customers_by_email.get(patch.email)
            known = self._by_email.get(patch.email)
            if draft is not None or known is not None:
                return draft or self._known_draft(known)
            draft = self._draft_of_account(patch.account)
            return draft if draft is not None and draft.fields["email"] is None else self._known_draft(None)
        if isinstance(patch.account, str):
            if (draft := self._draft_of_account(patch.account)) is not None:
                return draft
            return self._known_draft(None if present is None or present.account else present)
        if patch.email is None and present is not None and present.email is not None:
            present = None
        return self._known_draft(present)

    def _draft_of_account(self, account: str | UnsetType | None) -> Draft | None:
        if not isinstance(account, str):
            return None
        if (draft := self._customers_by_account.get(account)) is not None:
            return draft
        known = self._by_account.get(account)
        return None if known is None else self._known_draft(known)

    def _known_draft(self, customer: Customer | None) -> Draft:
        if customer is not None and (draft := self.customers.get(customer.customer_id)) is not None:
            return draft
        return customer_draft(customer, CustomerPatch())


def hint_of(key: str) -> str:
    """The last characters of a key, for people who compare two; NO_HINT for a short one."""
    bare = key.strip()
    return bare[-HINT_LENGTH:] if len(bare) >= SHORTEST_HINTED_KEY else NO_HINT
