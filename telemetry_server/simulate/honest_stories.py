"""Honest stories that look guilty: each function tells one, and its name is the story's name in the truth.

The docstring says what the server sees, and why it looks guilty.
"""

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate.scene import HOUR, LOW_PRICES, MOST_CHANGES, Scene, elsewhere, same_host
from telemetry_server.simulate.tales import Fields
from telemetry_server.simulate.world import DAY


def failover_pair(scene: Scene) -> None:
    """Two nodes share one state directory: machine and boot id go back and forth; one reports at a time."""
    key = scene.license(scene.customer())
    copy = scene.copy(key, level="usage")
    first, other = copy.server, scene.server(key, copy.server.network, copy.first)
    restarts, at, nodes = scene.dice.chance(0.5), scene.moment(0.15, 0.4), (other, first)
    while at < scene.end and len(copy.script) < MOST_CHANGES:
        node = nodes[0]
        fields = {"machine": node.machine, "board": node.board, "address": node.address}
        boot = f"{node.boot} {at}" if restarts else node.boot
        copy.change(at, **fields, boot=boot)
        at, nodes = at + scene.pings(2, 9), nodes[::-1]
    scene.honest([copy], key)


def restored_snapshot(scene: Scene) -> None:
    """A virtual machine is set back: numbers come twice, as forks; a child follows, its parent is silent."""
    key = scene.license(scene.customer())
    at = scene.moment(0.3, 0.9)
    parent = scene.copy(key, scene.moment(0, 0.1), at, level="usage", vm="kvm")
    child = scene.another(parent, at + scene.pings(0.1, 0.5), boot=f"restored {scene.tale.number}")
    child.parent = parent
    scene.rival(parent, child.first - HOUR // 30, child.server)
    scene.honest([parent, child], key, (at, scene.over.end))


def golden_image(scene: Scene) -> None:
    """Servers start from one image: one machine id, each first ping a fork, many children of one parent."""
    size = scene.count(3, 10)
    key = scene.license(scene.customer(), size + 1)
    at = scene.moment(0.2, 0.6)
    image = scene.copy(
        key, scene.moment(0, 0.1), at + scene.pings(0, 2), level="usage", environment="staging"
    )
    copies = [image]
    for number in range(size):
        first = at + scene.pings(1.5, 3) + number * scene.dice.number(HOUR // 6, 6 * HOUR)
        fresh = scene.server(key, image.server.network, first)
        fields: Fields = {
            "board": fresh.board,
            "boot": fresh.boot,
            "address": fresh.address,
            "environment": "production",
        }
        child = scene.another(image, first, **fields)
        child.parent = image
        scene.rival(image, first - HOUR // 30, child.server)
        copies.append(child)
    scene.honest(copies, key, (at, scene.over.end))


def nat_office(scene: Scene) -> None:
    """All copies of a customer behind one address of an access provider."""
    size, customer = scene.count(3, 14), scene.customer()
    key = scene.license(customer, size)
    office = scene.network(customer.country, "telecom")
    address = office.address(scene.dice)
    copies = [scene.copy(key, network=office, address=address) for _ in range(size)]
    scene.honest(copies, key)


def vpn_office(scene: Scene) -> None:
    """A server behind a VPN: its exit changes every few pings, across countries; others use it, too."""
    key = scene.license(scene.customer())
    copy = scene.copy(key, level="usage")
    exits = [scene.shared_network("vpn", scene.country()) for _ in range(4)]
    at = scene.moment(0.1, 0.3)
    while at < scene.end and len(copy.script) < MOST_CHANGES:
        network = scene.dice.one_of(exits)
        copy.change(at, "heartbeat", network=network, address=scene.shared_address(network, 8))
        at += scene.pings(1, 6)
    scene.honest([copy], key)


def moving_office(scene: Scene) -> None:
    """A customer moves, perhaps twice: the same machines report from another network, or country."""
    size = scene.count(1, 3)
    key = scene.license(scene.customer(), size)
    copies = [scene.copy(key, scene.moment(0, 0.1)) for _ in range(size)]
    at = scene.moment(0.2, 0.5)
    for _ in range(scene.dice.number(1, 3)):
        network = scene.network()
        for copy in copies:
            scene.move(copy, at + scene.dice.number(0, 6 * HOUR), network)
        at = min(at + scene.days(8, 40), scene.end)
    scene.honest(copies, key)


def cdn_egress(scene: Scene) -> None:
    """Traffic leaves through a CDN: each ping comes from another address, often of another country."""
    key = scene.license(scene.customer(), 2)
    edges = [scene.shared_network("cdn", scene.country()) for _ in range(6)]
    copies = [scene.copy(key) for _ in range(scene.dice.number(1, 3))]
    for copy in copies:
        at = copy.first
        while at < scene.end and len(copy.script) < MOST_CHANGES:
            edge = scene.dice.one_of(edges)
            copy.change(at, "heartbeat", network=edge, address=scene.shared_address(edge, 20))
            at += scene.terms.interval
    scene.honest(copies, key)


def staging_with_production_key(scene: Scene) -> None:
    """Staging and development run on the key of production: more copies than seats, none of them counted."""
    key = scene.license(scene.customer())
    scene.copy(key)
    environments = [scene.dice.one_of(("staging", "development")) for _ in range(scene.count(1, 4))]
    copies = [scene.copy(key, scene.moment(0, 0.6), environment=each) for each in environments]
    scene.honest(copies, key)


def late_renewal(scene: Scene) -> None:
    """A subscription is renewed days after its end: meanwhile the copy claims to be licensed."""
    ends_at = scene.moment(0.15, 0.65)
    key = scene.license(scene.customer(), type=LicenseType.SUBSCRIPTION, expires_at=ends_at)
    copy = scene.copy(key, scene.moment(0, 0.1), claims=scene.dice.one_of(("licensed", None)))
    renewed_at = min(ends_at + scene.days(2, 25), scene.end)
    key.change(renewed_at, expires_at=ends_at + 365 * DAY)
    scene.honest([copy], key, (ends_at, renewed_at))


def wrong_clock(scene: Scene) -> None:
    """A clock is years behind, days behind, or ahead: times jump back, or are doubtful."""
    key = scene.license(scene.customer())
    copy = scene.copy(key)
    off = scene.dice.one_of((-scene.days(3000, 9000), -scene.days(0.2, 40), scene.days(0.1, 3)))
    if scene.dice.chance(0.4):
        copy.server = copy.server._replace(clock_off=off)
        begin = copy.first
    else:
        begin = scene.moment(0.2, 0.6)
        scene.reboot(copy, begin, clock_off=off)
    until = scene.over.end
    if scene.dice.chance(0.6):
        until = scene.moment(0.7, 0.95)
        copy.change(until, "heartbeat", clock_off=0)
    scene.honest([copy], key, (begin, until))


def hosting_move(scene: Scene) -> None:
    """A move to another provider: both servers run for some days, then the old one is off."""
    key = scene.license(scene.customer())
    at = scene.moment(0.25, 0.8)
    old = scene.copy(key, scene.moment(0, 0.1), at + scene.days(1, 12), level="usage")
    fresh = scene.server(key, scene.network(), at)
    new = scene.another(old, at, **elsewhere(fresh))
    new.parent = old if scene.dice.chance(0.7) else None
    scene.honest([old, new], key, (at, scene.over.end))


def reseller_network(scene: Scene) -> None:
    """A reseller hosts its customers: many, each with a license, in one network behind a few addresses."""
    network = scene.network(kind="hosting")
    addresses = [network.address(scene.dice) for _ in range(scene.dice.number(1, 4))]
    copies, reseller = (
        [],
        scene.dice.one_of(("Example Resale", "Example Distribution", "Example Systems House")),
    )
    for _ in range(scene.count(5, 18)):
        key = scene.license(scene.customer(network.country), source="reseller", source_detail=reseller)
        copies.append(scene.copy(key, network=network, address=scene.dice.one_of(addresses)))
    scene.honest(copies, None)


def agency(scene: Scene) -> None:
    """An agency runs its customers' copies on one server: one machine and boot id, keys of many customers."""
    network = scene.network()
    host = scene.server(None, network, scene.begin)._replace(level="usage", container=None)
    copies = []
    for _ in range(scene.count(3, 9)):
        key = scene.license(scene.customer(network.country))
        copies.append(scene.copy(key, network=network, level="usage", container=None, **same_host(host)))
    scene.honest(copies, None)


def reinstall_after_crash(scene: Scene) -> None:
    """A server is set up again after a crash: a new identity on the same board; the old one is silent."""
    key, at = scene.license(scene.customer()), scene.moment(0.2, 0.6)
    copies = [scene.copy(key, scene.moment(0, 0.1), at, level="usage")]
    for _ in range(scene.dice.number(1, 3)):
        fields: Fields = {
            "boot": f"again {scene.tale.number} {at}",
            "machine": f"again {scene.tale.number} {at}",
        }
        copies.append(scene.another(copies[-1], at + scene.dice.number(HOUR, 3 * DAY), **fields))
        at = at + scene.days(6, 20)
        if at > scene.end or scene.dice.chance(0.4):
            break
        copies[-1].gone = at
    scene.honest(copies, key)


def long_silence(scene: Scene) -> None:
    """A server was off for two years and is back: with its old version."""
    back_at = scene.moment(0.1, 0.8)
    begin = scene.begin - scene.days(730, 900)
    key = scene.license(scene.customer(), starts_at=begin - 30 * DAY)
    copy = scene.copy(key, begin)
    copy.script.clear()
    copy.silent.append((begin + scene.days(10, 60), back_at))
    scene.reboot(copy, back_at - HOUR)
    scene.honest([copy], key, (back_at, scene.over.end))


def container_fleet(scene: Scene) -> None:
    """Containers without a volume restart hourly: each is a new identity, on a key without limit of seats."""
    key = scene.license(scene.customer(), None, edition="enterprise")
    network, at = scene.network(kind="cloud"), scene.moment(0.1, 0.8)
    host = scene.server(key, network, at)._replace(container="docker", level="usage")
    copies, begin = [], at
    for number in range(scene.count(8, 30)):
        machine = f"container {scene.tale.number} {number}"
        fields = {**same_host(host), "machine": machine, "container": "docker", "level": "usage"}
        copies.append(scene.copy(key, at, at + HOUR, network, **fields))
        at += HOUR + scene.dice.number(0, HOUR // 12)
    scene.honest(copies, key, (begin, at))


def provider_outage(scene: Scene) -> None:
    """A provider fails: all copies in its network are silent at once, and come back at the same time."""
    network, (begin, end) = scene.outage()
    key = scene.license(scene.customer(network.country), 3)
    copies = [scene.copy(key, scene.moment(0, 0.1), network=network) for _ in range(scene.dice.number(1, 4))]
    for copy in copies:
        copy.script.clear()
        copy.silent.append((begin, end + scene.dice.number(0, HOUR)))
        scene.reboot(copy, end - HOUR)
    scene.honest(copies, key, (begin, end))


def wrong_source(scene: Scene) -> None:
    """An installer names its own shop as the source of each license: not the source in the registry."""
    key = scene.license(scene.customer(), source="direct")
    copy = scene.copy(key, claimed_source=scene.dice.one_of(("marketplace", "bundle")))
    scene.honest([copy], key)


def short_evaluation(scene: Scene) -> None:
    """A copy without a key is tried for days, and says that it is unlicensed; half of them buy."""
    first = scene.moment(0.1, 0.8)
    until = min(first + scene.days(1, 14), scene.end)
    copy = scene.copy(None, first, until, claims="unlicensed")
    key = None
    if scene.dice.chance(0.5):
        key = scene.license(scene.customer(), starts_at=until - HOUR)
        copy.gone = scene.over.end
        copy.change(until, "license", license=key, claims=None)
    scene.honest([copy], key, (first, until))


def key_registered_late(scene: Scene) -> None:
    """A reseller reports its sales at the end of the month: the key is unknown for days or weeks."""
    key = scene.license(scene.customer(), source="reseller", source_detail="Example Resale")
    first = scene.moment(0.1, 0.6)
    key.registered_at = min(first + scene.days(3, 30), scene.end)
    copy = scene.copy(key, first)
    scene.honest([copy], key, (first, key.registered_at))


def hotfix_build(scene: Scene) -> None:
    """Support hands out a fix: a build of no release, under a valid license, until the next release."""
    key, at = scene.license(scene.customer()), scene.moment(0.15, 0.8)
    copy = scene.copy(key, scene.moment(0, 0.1))
    copy.script.clear()
    copy.change(at, build=f"fix{scene.dice.number(100, 999)}")
    until = scene.over.end
    if scene.dice.chance(0.6):
        until = min(at + scene.days(5, 40), scene.end)
        newest = [each for each in scene.terms.releases if each.released_at <= until][-1]
        copy.change(until, version=newest.version, build=newest.build)
    scene.honest([copy], key, (at, until))


def key_mixed_up(scene: Scene) -> None:
    """A customer with two products enters the key of the other one, and the right one some pings later."""
    customer, first = scene.customer(), scene.moment(0.1, 0.8)
    wrong = scene.license(customer, is_of_sibling=True)
    right = scene.license(customer, starts_at=first - DAY)
    copy = scene.copy(wrong, first, claims=scene.dice.one_of(("licensed", "invalid")))
    until = min(first + scene.pings(1, 4), scene.end)
    copy.change(until, "license", license=right, claims=None)
    scene.honest([copy], right, (first, until))


def refund_winding_down(scene: Scene) -> None:
    """A customer gets its money back, and switches its copies off within days or two weeks."""
    key, at = scene.license(scene.customer(), 2), scene.moment(0.15, 0.8)
    gone = at + scene.days(1, 14)
    copies = [scene.copy(key, scene.moment(0, 0.1), gone) for _ in range(scene.dice.number(1, 3))]
    key.change(at, status=LicenseStatus.REFUNDED)
    scene.honest(copies, key, (at, gone))


def hosted_abroad(scene: Scene) -> None:
    """A customer whose license is for its own country rents a server abroad."""
    country = scene.dice.one_of(LOW_PRICES)
    key = scene.license(scene.customer(country), territory=country)
    abroad = scene.network(scene.dice.one_of(("US", "DE", "SG", "NL", "FR")), "hosting")
    scene.honest([scene.copy(key, network=abroad)], key)
