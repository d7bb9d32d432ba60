"""The subject of a right: whom the data is about. Pure."""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

SubjectKind: TypeAlias = Literal["installation", "customer"]


@dataclass(frozen=True, slots=True)
class Subject:
    """An installation, or a customer with all installations on its licenses."""

    kind: SubjectKind
    id: UUID
