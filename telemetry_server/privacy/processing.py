"""The register of processing activities (Article 30 GDPR), of the field registry and the settings. Pure."""

from typing import Any

from telemetry_server.check.fields import Registry

CONTROLLER = "controller"
"""The text beside the letters that names the controller, its representative and its privacy officer."""
UNNAMED = "(not named yet: write name and contact to DATA/letters/controller.txt)"

_BASIS = {
    "delivery": "performance of the license contract (Article 6(1)(b) GDPR)",
    "compliance": "performance of the license contract, and legitimate interest in unlicensed use being found"
    " (Article 6(1)(b) and (f) GDPR)",
    "operations": "legitimate interest in knowing the systems to be supported (Article 6(1)(f) GDPR)",
    "improvement": "legitimate interest in improving the software (Article 6(1)(f) GDPR); may be objected to",
}
_SECURITY = (
    "signed uploads; roles, products and scopes of people and tokens; a tamper-evident audit log; keyed "
    "hashes of license keys; addresses shortened; support access sealed"
)
_STAFF = "the vendor's staff, by role"
_RECIPIENTS = f"{_STAFF}; others as the register of disclosures says"


_OTHERS = (
    (
        "addresses",
        "Know where the software runs; refuse abuse.",
        "legitimate interest (Article 6(1)(f) GDPR)",
        "users of installed copies",
        ["client_address", "hostname", "place"],
        "full addresses: shortened to networks after {address_days} days",
    ),
    (
        "license registry",
        "Know who may run what.",
        "performance of the license contract (Article 6(1)(b) GDPR)",
        "customers and their contacts",
        ["email", "name", "company", "tax_id", "technical_contact", "account", "licenses", "notes"],
        "when the customer is erased",
    ),
    (
        "support access",
        "Help a customer who granted access.",
        "consent, by granting it (Article 6(1)(a) GDPR)",
        "customers who asked for help",
        ["sealed: SSH account, root directory, e-mail and database accounts"],
        "when the grant expires or is revoked",
    ),
    (
        "accounts and audit log",
        "Know who saw or changed what.",
        "legal obligation and legitimate interest (Article 6(1)(c) and (f) GDPR)",
        "the vendor's staff",
        ["e-mail", "name", "network", "what was seen or changed"],
        "{audit_days} days; accounts: when they are removed",
    ),
    (
        "rights of data subjects",
        "Answer requests, and prove it.",
        "legal obligation (Article 6(1)(c) GDPR)",
        "those who made a request",
        ["requests", "holds", "restrictions", "disclosures", "certificates of erasure"],
        "requests: 3 years after they were closed; certificates, holds and disclosures: never",
    ),
)
"""What does not come in pings: name, purpose, basis, subjects, fields, erased after."""


def register(
    registry: Registry,
    *,
    controller: str | None,
    address_days: int,
    audit_days: int,
    backup_days: int,
) -> dict[str, Any]:
    """The register: each purpose of the field registry is an activity, and so is what it does not declare."""
    activities = [
        {
            "name": f"telemetry: {purpose}",
            "purpose": text,
            "basis": _BASIS.get(purpose, "(not named yet)"),
            "subjects": "licensees and users of installed copies",
            "fields": [field.path for field in registry.fields.values() if field.purpose == purpose],
            "recipients": _RECIPIENTS,
            "erased_after": _retention(registry, purpose),
        }
        for purpose, text in registry.purposes.items()
    ]
    return {
        "controller": (controller or UNNAMED).strip(),
        "activities": [*activities, *_others(address_days, audit_days)],
        "third_countries": "none by this software, but as the register of disclosures says",
        "security": _SECURITY,
        "backups": f"kept {backup_days} days",
    }


def _retention(registry: Registry, purpose: str) -> str:
    classes = {field.retention for field in registry.fields.values() if field.purpose == purpose}
    return "; ".join(f"{name}: {registry.retention[name]}" for name in sorted(classes))


def _others(address_days: int, audit_days: int) -> list[dict[str, Any]]:
    names = ("name", "purpose", "basis", "subjects", "fields", "erased_after")
    found = [{**dict(zip(names, row, strict=True)), "recipients": _RECIPIENTS} for row in _OTHERS]
    for each in found:
        each["erased_after"] = str(each["erased_after"]).format(
            address_days=address_days, audit_days=audit_days
        )
    return found


def markdown(register: dict[str, Any]) -> str:
    """The register as a document."""
    lines = ["# Register of processing activities", "", f"Controller: {register['controller']}", ""]
    for each in register["activities"]:
        lines += [
            f"## {each['name'][0].upper()}{each['name'][1:]}",
            "",
            f"- Purpose: {each['purpose']}",
            f"- Ground: {each['basis']}",
            f"- Data subjects: {each['subjects']}",
            f"- Data: {', '.join(each['fields'])}",
            f"- Recipients: {each['recipients']}",
            f"- Erased after: {each['erased_after']}",
            "",
        ]
    lines += [
        "## For all of them",
        "",
        f"- Third countries: {register['third_countries']}",
        f"- Security: {register['security']}",
        f"- Backups: {register['backups']}",
    ]
    return "\n".join(lines) + "\n"
