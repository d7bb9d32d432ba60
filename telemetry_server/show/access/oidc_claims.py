"""What the claims of a provider mean here: who it is, in which groups, and since when signed in there."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from telemetry_server.show.access.refusals import SignInRefused, Why
from telemetry_server.sign_in_providers import Provider, RoleOfGroup
from telemetry_server.store.access.identities import Identity
from telemetry_server.store.access.people import WrongEmail, email_of

Claims = Mapping[str, Any]

NEVER = datetime.fromtimestamp(0, UTC)
_LONGEST_NAME = 200
_LAST_TIME = 2**40


def identity_in(provider: Provider, claims: Claims) -> Identity:
    """The account at the provider: its issuer as configured, its subject, and the address as named there."""
    try:
        email = email_of(str(claims.get("email") or ""))
    except WrongEmail:
        email = ""
    return Identity(provider.issuer, claims["sub"], email)


def is_verified(provider: Provider, claims: Claims) -> bool:
    """Whether the address is that of the person, as far as the provider and the settings say."""
    return provider.entry.unverified_email or claims.get("email_verified") in (
        True,
        "true",
    )  # also of a kind that no set holds


def name_in(claims: Claims) -> str:
    name = claims.get("name")
    return name.strip()[:_LONGEST_NAME] if isinstance(name, str) and name.isprintable() else ""


def demand_required(provider: Provider, claims: Claims) -> None:
    """Raises SignInRefused unless the claims have the values that the settings require."""
    for name, value in provider.entry.required_claims.items():
        if claims.get(name) != value:
            raise SignInRefused(Why.REQUIRED_CLAIM, name)


def rule_in(provider: Provider, claims: Claims) -> RoleOfGroup | None:
    """What the person's groups give; None where the settings leave that to the account here.

    Raises SignInRefused where no rule fits, or the groups are not a list of names.
    """
    if not provider.entry.roles:
        return None
    rule = provider.rule_for(frozenset(_groups(provider.entry.groups_claim, claims)))
    if rule is None:
        raise SignInRefused(Why.NO_ROLE)
    return rule


def _groups(path: str, claims: Claims) -> list[str]:
    """The groups, none where the claim is missing. A path such as realm_access.roles leads into objects."""
    found: Any = claims
    for part in (path,) if path in claims else path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        elsewhere = claims.get("_claim_names")
        if isinstance(elsewhere, Mapping) and path in elsewhere:
            raise SignInRefused(Why.GROUPS_LEFT_OUT)
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise SignInRefused(Why.GROUPS, type(found).__name__)
    return found


def authenticated_at(provider: Provider, claims: Claims, now: datetime) -> datetime:
    """When the provider asked for the credentials; where it does not say so: NEVER, or by the settings now.

    Raises SignInRefused.
    """
    given = claims.get("auth_time")
    if given is None:
        return now if provider.entry.without_auth_time else NEVER
    if not is_time(given):
        raise SignInRefused(Why.AUTH_TIME)
    return min(now, datetime.fromtimestamp(max(0, min(given, now.timestamp())), UTC))


def is_time(value: object) -> bool:
    """Whether this is a NumericDate: not true, not infinite, and no longer than a date can be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LAST_TIME


def has_second_factor(provider: Provider, claims: Claims) -> bool:
    """Whether the provider says that it asked for a second factor, and the settings believe it."""
    methods = claims.get("amr")
    return provider.entry.second_factor and isinstance(methods, list) and "mfa" in methods
