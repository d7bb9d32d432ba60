"""Whose case a finding belongs to: the customer, else license, key, network or installation. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from telemetry_server.investigate.rules import SubjectKind


class Owner(NamedTuple):
    """The subject of a case: kind is customer, license, key, network or installation."""

    kind: str
    id: str


class License(NamedTuple):
    """A license, and the customer who has it."""

    license_id: UUID
    customer_id: UUID | None


class Copy(NamedTuple):
    """What an installation belongs to; `network`: its address, or the /64 of an IPv6 one."""

    installation_id: UUID
    license_id: UUID | None
    key: str | None
    network: str | None


@dataclass(frozen=True, slots=True)
class Registry:
    """The licenses of findings, by id and by the hash of their key in hex."""

    by_id: Mapping[UUID, License]
    by_key: Mapping[str, License]

    def of_copy(self, copy: Copy) -> Owner:
        """The owner of an installation."""
        if copy.license_id is not None:
            return self.of_license(copy.license_id)
        if copy.key is not None:
            return self.of_key(copy.key)
        if copy.network is not None:
            return Owner("network", copy.network)
        return Owner("installation", str(copy.installation_id))

    def of_license(self, license_id: UUID) -> Owner:
        found = self.by_id.get(license_id)
        if found is not None and found.customer_id is not None:
            return Owner("customer", str(found.customer_id))
        return Owner("license", str(license_id))

    def of_key(self, key: str) -> Owner:
        found = self.by_key.get(key)
        return Owner("key", key) if found is None else self.of_license(found.license_id)

    def of_finding(self, kind: SubjectKind, subject_id: str, copies: Sequence[Copy]) -> Owner:
        """The owner of a finding about that subject, which rests on these copies."""
        match kind:
            case SubjectKind.LICENSE:
                return self.of_license(UUID(subject_id))
            case SubjectKind.KEY:
                return self.of_key(subject_id)
            case SubjectKind.INSTALLATION:
                found = next((copy for copy in copies if str(copy.installation_id) == subject_id), None)
                return Owner("installation", subject_id) if found is None else self.of_copy(found)
        owners = {self.of_copy(copy) for copy in copies}
        return owners.pop() if len(owners) == 1 else Owner("network", subject_id)
