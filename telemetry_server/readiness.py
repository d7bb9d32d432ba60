"""The result of a check of `/readyz` and "doctor". Imports nothing of ours."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its finding. Pings are accepted while all `needed` checks are ok."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
