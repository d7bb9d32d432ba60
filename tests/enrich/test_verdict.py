"""The verdict: its order, when it is silent rather than wrong, and what it never depends on."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import product
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from telemetry_server.check.fields import load_registry
from telemetry_server.enrich.verdict import Claim, judge, never_matching
from telemetry_server.model import Grant, LicenseSource, LicenseStatus, LicenseType, Overage, Verdict

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)
OURS, OTHER = UUID(int=1), UUID(int=2)
HERE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/48"))
STATUSES = next(
    field.values for section in load_registry().sections().values() for field in section if field.path == "license.status"
)  # fmt: skip


def claim(**changes):
    first = {
        "product_id": OURS,
        "has_key": True,
        "status": "licensed",
        "source": "direct",
        "environment": "production",
        "address": "192.0.2.7",
        "made_at": NOW,
    }
    return Claim(**first | changes)


def grant(**changes):
    first = Grant(
        product_id=OURS,
        status=LicenseStatus.ACTIVE,
        type=LicenseType.PURCHASED,
        source=LicenseSource.DIRECT,
        seats=1,
        seats_used=1,
        overage=Overage.NONE,
        networks=(),
        free_environments=("development", "staging"),
        starts_at=None,
        expires_at=None,
    )
    return replace(first, **changes)


def verdict(of, by, now=NOW):
    return judge(of, by, now).verdict


# ── the order ───────────────────────────────────────────────────────────────────────────────

# What makes each verdict, in the order of the module's table: changes of the claim, and of the license.
CAUSES = {
    "no_key": ({"has_key": False}, {}),
    "unknown_key": ({}, None),
    "wrong_product": ({}, {"product_id": OTHER}),
    "revoked": ({}, {"status": LicenseStatus.REVOKED}),
    "suspended": ({}, {"status": LicenseStatus.SUSPENDED}),
    "expired": ({}, {"expires_at": NOW}),
    "wrong_place": ({"address": "198.51.100.9"}, {"networks": HERE}),
    "over_seats": ({}, {"seats_used": 2}),
    "trial": ({}, {"type": LicenseType.TRIAL}),
}


def with_causes(names):
    of, by = claim(), grant()
    for name in reversed(names):  # the one that comes first has the last word on what both change
        changed, granted = CAUSES[name]
        of = msgspec.structs.replace(of, **changed)
        by = None if granted is None else by and replace(by, **granted)
    return of, by


def test_the_table_in_the_module_names_every_verdict_in_its_order():
    import telemetry_server.enrich.verdict as module

    table, _, _ = module.__doc__.partition("No one is accused")
    lines = [line.split() for line in table.splitlines() if line.startswith("    ")]
    assert [line[0] for line in lines] == [*CAUSES, "valid"]
    assert {*CAUSES, "valid"} == set(Verdict)


def test_the_page_for_people_has_the_same_table():
    text = (ROOT / "docs" / "verdicts.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [*CAUSES, "valid"]


@pytest.mark.parametrize("present", list(product([False, True], repeat=len(CAUSES))))
def test_of_all_that_holds_the_first_of_the_table_is_the_verdict(present):
    names = [name for name, there in zip(CAUSES, present, strict=True) if there]
    assert verdict(*with_causes(names)) == (names[0] if names else "valid")


@pytest.mark.parametrize("kind", [kind for kind in LicenseType if kind != "trial"])
def test_every_license_that_is_no_trial_is_valid(kind):
    assert verdict(claim(), grant(type=kind)) == "valid"


def test_a_refunded_license_is_as_good_as_a_revoked_one():
    assert verdict(claim(), grant(status=LicenseStatus.REFUNDED)) == "revoked"


def test_a_license_is_good_until_the_moment_it_expires_and_not_after():
    ends = grant(expires_at=NOW + timedelta(microseconds=1))
    assert verdict(claim(), ends) == "valid"
    assert verdict(claim(), ends, NOW + timedelta(microseconds=1)) == "expired"


def test_a_license_that_has_not_started_is_judged_as_if_it_had():
    assert judge(claim(), grant(starts_at=NOW + DAY), NOW) == judge(claim(), grant(), NOW)


# ── places ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["198.51.100.9", "2001:db9::1"])
def test_an_address_outside_the_networks_is_the_wrong_place(address):
    assert verdict(claim(address=address), grant(networks=HERE)) == "wrong_place"


@pytest.mark.parametrize(
    "address",
    ["192.0.2.255", "2001:db8::1", None, "198.51.100.0/24", "2001:db9::/48", "127.0.0.1", "10.1.2.3", "::1"],
)
def test_an_address_that_says_nothing_is_no_wrong_place(address):
    assert verdict(claim(address=address), grant(networks=HERE)) == "valid"


@pytest.mark.parametrize(
    "networks",
    [
        ("10.0.0.5/32",),
        ("127.0.0.1/32", "::1/128"),
        ("0.0.0.0/32", "::/128"),
        ("::ffff:10.0.0.5/128",),
        ("100.64.0.0/16", "169.254.1.0/24", "fe80::/64", "fd00::/8"),
        ("224.0.0.5/32", "255.255.255.255/32", "ff02::1/128"),
    ],
)
@pytest.mark.parametrize("address", ["198.51.100.9", "2001:db9::1"])
def test_networks_in_which_no_public_address_can_be_say_nothing(networks, address):
    of = grant(networks=tuple(map(ip_network, networks)))
    assert verdict(claim(address=address), of) == "valid"


@pytest.mark.parametrize("network", ["0.0.0.0/0", "8.0.0.0/5", "::/0", "::ffff:11.2.3.0/120", "2000::/3"])
def test_networks_with_a_public_address_can_match(network):
    assert never_matching([network]) == []


@pytest.mark.parametrize(
    ("address", "network", "said"),
    [
        ("198.51.100.9", "2001:db8::/48", "valid"),
        ("2001:db9::1", "192.0.2.0/24", "valid"),
        ("192.0.2.7", "::ffff:192.0.2.0/120", "valid"),
        ("198.51.100.9", "::ffff:192.0.2.0/120", "wrong_place"),
        ("::ffff:192.0.2.7", "192.0.2.0/24", "valid"),
        ("::ffff:198.51.100.9", "192.0.2.0/24", "wrong_place"),
    ],
)
def test_an_address_is_compared_with_networks_of_its_own_version(address, network, said):
    assert verdict(claim(address=address), grant(networks=(ip_network(network),))) == said


def test_a_network_that_never_matches_leaves_the_others_as_they_are():
    mixed = grant(networks=(ip_network("192.0.2.0/24"), ip_network("10.0.0.9/32")))
    assert verdict(claim(address="192.0.2.7"), mixed) == "valid"
    assert verdict(claim(address="198.51.100.9"), mixed) == "wrong_place"


# ── seats ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("overage", "seats", "most"),
    [
        (Overage.NONE, 4, 4),
        (Overage.QUARTER, 4, 5),
        (Overage.QUARTER, 3, 3),
        (Overage.HALF, 3, 4),
        (Overage.DOUBLE, 3, 6),
        (Overage.ANY, 3, 10**9),
        (Overage.NONE, None, 10**9),
    ],
)
def test_over_seats_begins_above_what_the_strategy_allows(overage, seats, most):
    granted = grant(seats=seats, overage=overage, seats_used=most)
    assert verdict(claim(), granted) == "valid"
    if most < 10**9:
        assert verdict(claim(), replace(granted, seats_used=most + 1)) == "over_seats"


@pytest.mark.parametrize(
    "changes", [{"environment": "staging"}, {"environment": "Development"}, {"silent": True}]
)
def test_a_copy_that_takes_no_seat_is_not_over_them(changes):
    assert verdict(claim(**changes), grant(seats_used=9)) == "valid"


def test_an_environment_that_was_not_told_takes_a_seat():
    assert verdict(claim(environment="unknown"), grant(seats_used=9)) == "over_seats"


# ── the claim against the verdict ───────────────────────────────────────────────────────────

MISMATCHES = {
    "licensed": {"no_key", "unknown_key", "wrong_product", "revoked", "suspended", "expired", "trial"},
    "trial": {"valid", "revoked", "suspended", "expired"},
    "expired": {"valid", "trial"},
    "invalid": {"valid", "trial"},
    "unlicensed": {"valid", "trial"},
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("given", Verdict)
def test_a_claim_that_contradicts_the_verdict_is_a_mismatch(status, given):
    of, by = with_causes([] if given == "valid" else [given])
    found = judge(msgspec.structs.replace(of, status=status), by, NOW)
    assert (found.verdict, found.claim_mismatch) == (given, given in MISMATCHES[status])


def test_who_claims_nothing_contradicts_nothing():
    found = judge(claim(has_key=False, status="unlicensed", source="unknown"), None, NOW)
    assert (found.verdict, found.claim_mismatch, found.source_mismatch) == ("no_key", False, False)


def test_a_claim_made_before_the_license_expired_was_right_when_it_was_made():
    ended = grant(expires_at=NOW - DAY)
    before, after = claim(made_at=NOW - 2 * DAY), claim(made_at=NOW - DAY)
    assert (verdict(before, ended), judge(before, ended, NOW).claim_mismatch) == ("expired", False)
    assert (verdict(after, ended), judge(after, ended, NOW).claim_mismatch) == ("expired", True)


@pytest.mark.parametrize("status", ["unlicensed", "invalid", "trial"])
def test_a_claim_made_before_the_license_started_was_right_when_it_was_made(status):
    began = grant(starts_at=NOW)
    assert not judge(claim(status=status, made_at=NOW - DAY), began, NOW + DAY).claim_mismatch
    assert judge(claim(status=status, made_at=NOW), began, NOW + DAY).claim_mismatch


# ── the source ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "known", "kind", "mismatch"),
    [
        ("direct", "direct", "purchased", False),
        ("marketplace", "direct", "purchased", True),
        ("unknown", "direct", "purchased", False),
        ("marketplace", None, "purchased", False),
        ("trial", "direct", "trial", False),
        ("trial", None, "purchased", False),
        ("trial", "direct", "purchased", True),
        ("reseller", "direct", "trial", True),
    ],
)
def test_sources_that_are_both_known_and_differ_are_a_mismatch(said, known, kind, mismatch):
    granted = grant(source=known and LicenseSource(known), type=LicenseType(kind))
    assert judge(claim(source=said), granted, NOW).source_mismatch is mismatch


# ── whatever comes ──────────────────────────────────────────────────────────────────────────

MOMENTS = st.datetimes(datetime(2026, 11, 20), datetime(2026, 11, 24), timezones=st.just(UTC))
ADDRESSES = st.sampled_from([None, "192.0.2.7", "198.51.100.9", "198.51.100.0/24", "10.0.0.1", "2001:db8::1"])
WORDS = st.sampled_from([*STATUSES, "something new"])
CLAIMS = st.builds(
    Claim,
    product_id=st.sampled_from([OURS, OTHER]),
    has_key=st.booleans(),
    status=WORDS,
    source=st.sampled_from([*LicenseSource, "trial", "unknown", "something new"]),
    environment=st.sampled_from(["production", "staging", "unknown", ""]),
    address=ADDRESSES,
    made_at=MOMENTS,
    silent=st.booleans(),
)
GRANTS = st.builds(
    Grant,
    product_id=st.just(OURS),
    status=st.sampled_from(LicenseStatus),
    type=st.sampled_from(LicenseType),
    source=st.none() | st.sampled_from(LicenseSource),
    seats=st.none() | st.integers(1, 9),
    seats_used=st.integers(0, 20),
    overage=st.sampled_from(Overage),
    networks=st.sampled_from([(), HERE]),
    free_environments=st.sampled_from([(), ("staging",)]),
    starts_at=st.none() | MOMENTS,
    expires_at=st.none() | MOMENTS,
)
# Better first: a license that is changed for the better never gives a worse verdict.
BETTER = {name: rank for rank, name in enumerate(["valid", *reversed(CAUSES)])}


@given(CLAIMS, st.none() | GRANTS, MOMENTS)
def test_every_claim_has_one_verdict_and_always_the_same(of, by, now):
    first = judge(of, by, now)
    assert isinstance(first.verdict, Verdict)
    assert judge(of, by, now) == first


@given(CLAIMS, st.none() | GRANTS, MOMENTS, WORDS, MOMENTS)
def test_what_the_copy_says_of_itself_never_changes_the_verdict(of, by, now, status, made_at):
    other = msgspec.structs.replace(of, status=status, source="reseller", made_at=made_at)
    assert verdict(other, by, now) == verdict(of, by, now)


@given(CLAIMS, GRANTS, MOMENTS, st.none() | MOMENTS)
def test_source_and_start_of_the_license_never_change_the_verdict(of, by, now, starts_at):
    assert verdict(of, replace(by, source=None, starts_at=starts_at), now) == verdict(of, by, now)


@given(CLAIMS, GRANTS, GRANTS, MOMENTS)
def test_without_a_key_nothing_of_any_license_matters(of, one, other, now):
    of = msgspec.structs.replace(of, has_key=False)
    assert judge(of, one, now) == judge(of, other, now) == judge(of, None, now)


@given(CLAIMS, GRANTS, MOMENTS)
def test_one_license_more_generous_gives_no_worse_verdict(of, by, now):
    rank = BETTER[verdict(of, by, now)]
    for changes in (
        {"status": LicenseStatus.ACTIVE},
        {"expires_at": None},
        {"networks": ()},
        {"seats": None},
        {"seats_used": 0},
        {"overage": Overage.ANY},
        {"type": LicenseType.PURCHASED},
    ):
        assert BETTER[verdict(of, replace(by, **changes), now)] <= rank


@given(CLAIMS, GRANTS, MOMENTS, MOMENTS)
def test_as_time_passes_a_license_only_ever_expires(of, by, now, later):
    now, later = sorted([now, later])
    before, after = verdict(of, by, now), verdict(of, by, later)
    assert after in {before, "expired"}


@given(CLAIMS, GRANTS, MOMENTS)
def test_less_evidence_never_gives_a_worse_verdict(of, by, now):
    rank = BETTER[verdict(of, by, now)]
    assert BETTER[verdict(msgspec.structs.replace(of, address=None), by, now)] <= rank
    silent = judge(msgspec.structs.replace(of, source="unknown"), by, now)
    assert not silent.source_mismatch


def test_everything_a_license_grants_is_looked_at():
    """A field that no verdict and no mismatch hangs on has no place in the memory of ingest."""
    bases = [
        (claim(), grant()),
        (claim(address="198.51.100.9"), grant(networks=HERE)),
        (claim(), grant(seats_used=2)),
        (claim(environment="testing"), grant(seats_used=2)),
        (claim(status="trial", made_at=NOW - DAY), grant()),
    ]
    others = grant(
        product_id=OTHER,
        status=LicenseStatus.REVOKED,
        type=LicenseType.TRIAL,
        source=LicenseSource.GIFT,
        seats=2,
        seats_used=1,
        overage=Overage.ANY,
        networks=(),
        free_environments=("testing",),
        starts_at=NOW,
        expires_at=NOW,
    )
    for field in fields(Grant):
        changed = {field.name: getattr(others, field.name)}
        assert any(judge(of, replace(by, **changed), NOW) != judge(of, by, NOW) for of, by in bases), (
            field.name
        )
