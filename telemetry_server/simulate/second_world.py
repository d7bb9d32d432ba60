"""The second world: other proportions, other parameters, and stories that the first world has not.

Nothing is fitted on it, neither a threshold nor a ratio nor a rule: it is kept for reporting.
"""

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate import honest_stories as honest
from telemetry_server.simulate import misuse_stories as misuse
from telemetry_server.simulate import ordinary
from telemetry_server.simulate.dice import Weighted
from telemetry_server.simulate.scene import HOUR, MOST_CHANGES, Scene, elsewhere, same_host
from telemetry_server.simulate.tales import CopyPlan, Story, World

_MOST_TURNS = 40

# ── honest ──────────────────────────────────────────────────────────────────────────────────


def coworking_space(scene: Scene) -> None:
    """Unrelated customers work in one building: one address, and many customers behind it."""
    network = scene.network(kind="telecom")
    address = network.address(scene.dice)
    copies = []
    for _ in range(scene.count(3, 8)):
        key = scene.license(scene.customer(network.country), 2)
        copies.append(scene.copy(key, network=network, address=address))
    scene.honest(copies, None)


def autoscaling_group(scene: Scene) -> None:
    """Servers come in the morning and go in the evening: many identities, never more at once than seats."""
    size = scene.dice.number(2, 5)
    key = scene.license(scene.customer(), size * 4, edition="enterprise")
    network, at, copies = scene.network(kind="cloud"), scene.moment(0.1, 0.6), []
    for _ in range(scene.count(5, 12)):
        copies += [
            scene.copy(key, at + scene.dice.number(0, HOUR), at + 10 * HOUR, network) for _ in range(size)
        ]
        at += scene.terms.late_after + scene.terms.interval
        if at > scene.end:
            break
    scene.honest(copies, key, (copies[0].first, scene.over.end))


def disaster_drill(scene: Scene) -> None:
    """A customer starts all its servers at a second site for days: twice the seats at once."""
    seats, at = scene.count(2, 6), scene.moment(0.2, 0.8)
    key = scene.license(scene.customer(), seats)
    until = at + scene.days(1, 4)
    originals = [scene.copy(key, scene.moment(0, 0.1), level="usage") for _ in range(seats)]
    site, copies = scene.network(), []
    for original in originals:
        fresh = scene.server(key, site, at)
        copy = scene.another(original, at + scene.dice.number(0, 6 * HOUR), until, **elsewhere(fresh))
        copy.parent = original
        copies.append(copy)
    scene.honest(copies, key, (at, until))


def mobile_carrier(scene: Scene) -> None:
    """Unrelated customers behind the few addresses of a mobile carrier, which change from ping to ping."""
    network = scene.shared_network("mobile", scene.country())
    copies = []
    for _ in range(scene.count(2, 6)):
        copy = scene.copy(scene.license(scene.customer(network.country)), network=network)
        at = copy.first
        while at < scene.end and len(copy.script) < MOST_CHANGES:
            copy.change(at, "heartbeat", address=scene.shared_address(network, 6))
            at += scene.pings(1, 4)
        copies.append(copy)
    scene.honest(copies, None)


def merged_companies(scene: Scene) -> None:
    """A company is bought: the license gets another customer, and its copies move to that one."""
    seller, buyer = scene.customer(), scene.customer()
    key, at = scene.license(seller, 2), scene.moment(0.3, 0.8)
    key.change(at, customer=buyer)
    copies = [scene.copy(key, scene.moment(0, 0.1)) for _ in range(2)]
    network = scene.network(buyer.country)
    for copy in copies:
        scene.move(copy, min(at + scene.days(0, 6), scene.end), network)
    scene.honest(copies, key, (at, scene.over.end))


def beta_programme(scene: Scene) -> None:
    """A customer tries builds before their release: builds of no release, under a valid license."""
    key, at = scene.license(scene.customer(), 2), scene.moment(0.1, 0.8)
    copy = scene.copy(key, scene.moment(0, 0.1))
    copy.script.clear()
    copy.change(at, version="7.9.0-beta1", build=f"beta{scene.dice.number(100, 999)}")
    scene.honest([copy], key, (at, scene.over.end))


def seats_bought_late(scene: Scene) -> None:
    """A customer grows beyond its seats, and buys more some days or weeks later."""
    seats, at = scene.dice.number(1, 6), scene.moment(0.2, 0.6)
    key = scene.license(scene.customer(), seats)
    for _ in range(seats):
        scene.copy(key, scene.moment(0, 0.1))
    copies = [scene.copy(key, at + scene.days(0, 4)) for _ in range(scene.dice.number(1, 4))]
    bought_at = min(at + scene.days(6, 25), scene.end)
    key.change(bought_at, seats=seats + 5)
    scene.honest(copies, key, (at, bought_at))


def suspended_for_days(scene: Scene) -> None:
    """A bill is paid late: the license is suspended for days, and active again."""
    key, at = scene.license(scene.customer()), scene.moment(0.2, 0.7)
    copy = scene.copy(key, scene.moment(0, 0.1))
    until = at + scene.days(2, 15)
    key.change(at, status=LicenseStatus.SUSPENDED)
    key.change(min(until, scene.end), status=LicenseStatus.ACTIVE)
    scene.honest([copy], key, (at, min(until, scene.end)))


# ── misuse ──────────────────────────────────────────────────────────────────────────────────


def key_sold_twice(scene: Scene) -> None:
    """A reseller sells one key to several firms: each uses one copy, in a network of its own."""
    spell = scene.spell()
    key = scene.license(scene.customer(), source="reseller", source_detail="Example Resale")
    country = key.terms.customer.country if key.terms.customer else scene.country()
    scene.copy(key, scene.before(spell))
    copies = [
        scene.copy(key, scene.within(spell, 0.7), spell[1], scene.network(country, "hosting"))
        for _ in range(scene.dice.number(2, 7))
    ]
    scene.misuse(spell, copies, key)


def weekend_clone(scene: Scene) -> None:
    """A copied server runs every few days only, under the same identity, and is off in between."""
    spell, customer = scene.spell(), scene.customer()
    key = scene.license(customer)
    copy = scene.copy(key, scene.before(spell), level="usage")
    copy.script.clear()
    clone, at = scene.server(key, scene.network(customer.country), spell[0]), spell[0]
    while at < min(spell[1], scene.end):
        if at > copy.first + 2 * scene.terms.interval:
            scene.rival(copy, at, clone)
        at += max(scene.days(6, 8), scene.terms.interval)
    scene.misuse(spell, [copy], key)


def one_key_for_a_host(scene: Scene) -> None:
    """A hosting firm installs its one key for each of its customers: many copies on one host, one seat."""
    spell = scene.spell()
    key = scene.license(scene.customer())
    network = scene.network(kind="hosting")
    host = scene.server(key, network, spell[0])._replace(container="docker", level="usage")
    copies = [
        scene.copy(key, scene.within(spell, 0.6), spell[1], network, **same_host(host), container="docker")
        for _ in range(scene.count(5, 20))
    ]
    scene.misuse(spell, copies, key)


def gift_in_business(scene: Scene) -> None:
    """A license that was given away is sold on a marketplace, and used in production."""
    spell = scene.spell()
    key = scene.license(scene.customer(), type=LicenseType.NOT_FOR_RESALE, source="gift", source_detail=None)
    copy = scene.copy(key, spell[0], spell[1], claimed_source="marketplace", claims="licensed")
    scene.misuse(spell, [copy], key)


def rotating_seats(scene: Scene) -> None:
    """Seats are passed round: each copy is off before the next one starts, so that no seat is exceeded."""
    (begin, end), seats = scene.spell(), scene.dice.number(1, 3)
    key = scene.license(scene.customer(), seats)
    step = scene.terms.late_after + 2 * scene.terms.interval
    at, copies = max(scene.begin, min(begin, scene.end - 3 * step)), list[CopyPlan]()
    until = min(max(end, at + 3 * step), scene.end)
    while at < until and len(copies) < _MOST_TURNS:
        copies += [scene.copy(key, at, at + 2 * scene.terms.interval) for _ in range(seats)]
        at += step
    scene.misuse((copies[0].first, at), copies, key)


def higher_edition(scene: Scene) -> None:
    """The copy of a starter license was changed to the enterprise edition, and reports that."""
    spell = scene.spell()
    key = scene.license(scene.customer(), edition="starter")
    copy = scene.copy(key, scene.before(spell), spell[1])
    copy.change(spell[0], claimed_edition="enterprise")
    scene.misuse(spell, [copy], key)


def key_generator(scene: Scene) -> None:
    """A key generator: each copy has a key of its own that no license has, and claims to be licensed."""
    spell = scene.spell()
    key = scene.unknown_key()
    copy = scene.copy(key, spell[0], spell[1], scene.network(), claims="licensed")
    scene.misuse(spell, [copy], key)


SECOND = World(
    name="second",
    number=2,
    odd=0.18,
    ordinary=(
        Story(ordinary.paying_customer, 60),
        Story(ordinary.two_licenses, 14),
        Story(ordinary.trial, 8),
        Story(ordinary.converted_trial, 6),
        Story(ordinary.ended_subscription, 8),
        Story(ordinary.unused_license, 4),
    ),
    honest=(
        Story(coworking_space, 6, 6),
        Story(autoscaling_group, 4),
        Story(disaster_drill, 4),
        Story(honest.key_registered_late, 10),
        Story(mobile_carrier, 5, 4),
        Story(merged_companies, 4, 2),
        Story(beta_programme, 4),
        Story(seats_bought_late, 7),
        Story(suspended_for_days, 4),
        Story(honest.hotfix_build, 2),
        Story(honest.key_mixed_up, 4),
        Story(honest.refund_winding_down, 4),
        Story(honest.hosted_abroad, 3),
        Story(honest.failover_pair, 4),
        Story(honest.restored_snapshot, 9),
        Story(honest.golden_image, 3),
        Story(honest.nat_office, 3),
        Story(honest.vpn_office, 4),
        Story(honest.moving_office, 3),
        Story(honest.cdn_egress, 3),
        Story(honest.staging_with_production_key, 5),
        Story(honest.late_renewal, 6),
        Story(honest.wrong_clock, 5),
        Story(honest.hosting_move, 9),
        Story(honest.reseller_network, 4, 14),
        Story(honest.agency, 4, 8),
        Story(honest.reinstall_after_crash, 6),
        Story(honest.long_silence, 3),
        Story(honest.container_fleet, 1),
        Story(honest.provider_outage, 4),
        Story(honest.wrong_source, 3),
        Story(honest.short_evaluation, 6, 0.5),
    ),
    misuse=(
        Story(key_sold_twice, 8),
        Story(weekend_clone, 6),
        Story(one_key_for_a_host, 5),
        Story(gift_in_business, 5),
        Story(rotating_seats, 5),
        Story(higher_edition, 5),
        Story(key_generator, 7, 1),
        Story(misuse.key_shared_by_friends, 14),
        Story(misuse.key_in_a_forum, 3),
        Story(misuse.nulled_distribution, 4, 1),
        Story(misuse.live_clone, 4),
        Story(misuse.cloned_state_directory, 7),
        Story(misuse.over_seats_slowly, 10),
        Story(misuse.over_seats_at_once, 3),
        Story(misuse.trial_chain, 4, 4),
        Story(misuse.revoked_key_in_use, 3),
        Story(misuse.refunded_key_in_use, 7),
        Story(misuse.patched_build, 6),
        Story(misuse.patched_without_key, 3),
        Story(misuse.wrong_product, 2),
        Story(misuse.clock_set_back, 3),
        Story(misuse.cheap_country_key, 6),
        Story(misuse.unlicensed_in_production, 4),
    ),
    seats=Weighted(((1, 50), (2, 14), (3, 10), (4, 8), (8, 8), (20, 5))),
    lengths=Weighted((((2, 7), 15), ((7, 21), 35), ((21, 45), 30), ((45, 120), 20))),
    scale=0.8,
    at_home=0.7,
)
