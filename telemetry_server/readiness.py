"""What `/readyz` and "doctor" look at. Imports nothing of ours."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that should hold, and what was found. Pings are taken as long as the `needed` ones hold."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
