"""Misuse of every kind: each function tells one, and its name is the story's name in the truth.

The docstring says what the server sees, and what makes it guilty. The world says how long it lasts.
"""

from telemetry_server.model import LicenseStatus, LicenseType
from telemetry_server.simulate.scene import HOUR, LOW_PRICES, Scene, elsewhere
from telemetry_server.simulate.tales import CopyPlan, License, Server, Spell
from telemetry_server.simulate.world import DAY

_TRIAL_DAYS = (12, 16)


def key_shared_by_friends(scene: Scene) -> None:
    """A key for one server is used by a friend or two as well: in other networks, without any relation."""
    customer, spell = scene.customer(), scene.spell()
    key = scene.license(customer)
    scene.copy(key, scene.before(spell))
    friends = [
        scene.copy(key, scene.within(spell, 0.1), spell[1], scene.far_network(customer.country))
        for _ in range(scene.dice.number(1, 3))
    ]
    scene.misuse(spell, friends, key)


def key_in_a_forum(scene: Scene) -> None:
    """A key was published: copies all over the world come, and most go again; the owner's is one of them."""
    spell, key = scene.spell(), scene.license(scene.customer(), scene.dice.number(1, 4))
    scene.copy(key, scene.before(spell))
    strangers = []
    for _ in range(scene.count(8, 40)):
        first = scene.within(spell)
        gone = min(spell[1], first + scene.days(2, 60))
        strangers.append(scene.copy(key, first, gone, scene.network(scene.country())))
    scene.misuse(spell, strangers, key)


def nulled_distribution(scene: Scene) -> None:
    """A changed distribution with one key that no license has: it claims one; no release has its build."""
    spell, key = scene.spell(), scene.unknown_key()
    build = f"x{scene.dice.number(10**8, 10**9)}"
    copies = []
    for _ in range(scene.count(4, 24)):
        first = scene.within(spell)
        copy = scene.copy(key, first, spell[1], scene.network(), build=build, claims="licensed")
        copy.script.clear()
        copies.append(copy)
    scene.misuse(spell, copies, key)


def live_clone(scene: Scene) -> None:
    """A copied server goes on under the same identity: two boot ids alternate, and forks go on.

    The client of the clone is changed: it ignores that it is to take a new identity.
    """
    spell, customer = scene.spell(), scene.customer()
    key = scene.license(customer)
    copy = scene.copy(key, scene.before(spell), level="usage")
    copy.script.clear()
    _alternate(scene, copy, scene.server(key, scene.far_network(customer.country), spell[0]), spell)
    scene.misuse(spell, [copy], key)


def cloned_state_directory(scene: Scene) -> None:
    """A state directory is copied to a second server: the new identity names its parent, and both go on."""
    spell, customer = scene.spell(), scene.customer()
    key = scene.license(customer)
    original = scene.copy(key, scene.before(spell), level="usage")
    fresh = scene.server(key, scene.far_network(customer.country), spell[0])
    first = scene.within(spell, 0.1)
    clone = scene.another(original, first, spell[1], **elsewhere(fresh))
    clone.parent = original
    if scene.dice.chance(0.5):
        scene.rival(original, first - HOUR // 30, clone.server)
    scene.misuse(spell, [clone], key)


def over_seats_slowly(scene: Scene) -> None:
    """A customer adds a server every few days, beyond its seats, in production."""
    spell, seats = scene.spell(), scene.dice.number(1, 6)
    key = scene.license(scene.customer(), seats)
    for _ in range(seats):
        scene.copy(key, scene.before(spell))
    excess, at, step = [], spell[0], max(DAY, (spell[1] - spell[0]) // 8)
    for _ in range(scene.count(2, 7)):
        if at >= min(spell[1], scene.end):
            break
        excess.append(scene.copy(key, at, spell[1]))
        at += scene.dice.number(step // 2, step)
    scene.misuse(spell, excess, key)


def over_seats_at_once(scene: Scene) -> None:
    """A customer rolls out several times as many copies as it has seats, within a day or two."""
    spell, seats = scene.spell(), scene.dice.number(1, 6)
    key = scene.license(scene.customer(), seats)
    for _ in range(seats):
        scene.copy(key, scene.before(spell))
    network = scene.network()
    excess = [
        scene.copy(key, min(spell[0] + scene.dice.number(0, 2 * DAY), spell[1] - HOUR), spell[1], network)
        for _ in range(scene.count(2 * seats, 4 * seats))
    ]
    scene.misuse(spell, excess, key)


def trial_chain(scene: Scene) -> None:
    """One server tries the product again and again: each time with another mail address, key and identity."""
    at, network, copies = scene.moment(0.02, 0.15), scene.network(), list[CopyPlan]()
    for number in range(scene.dice.number(3, 7)):
        length = scene.days(*_TRIAL_DAYS)
        if number > 1 and at + length > scene.end:
            break
        key = scene.trial(scene.customer(network.country, free_mail=True), at - HOUR, length)
        copy = scene.copy(key, at, at + length, network, level="usage", container=None)
        copy.script.clear()
        if copies:
            copy.server = copies[0].server._replace(license=key, boot=copy.server.boot)
        copies.append(copy)
        at += length + scene.days(0, 1)
    scene.misuse((copies[1].first, at), copies[1:], copies[-1].server.license)


def revoked_key_in_use(scene: Scene) -> None:
    """The vendor revoked the license; the copy goes on and claims to be licensed."""
    _withdrawn(scene, LicenseStatus.REVOKED)


def refunded_key_in_use(scene: Scene) -> None:
    """The customer got its money back; the copy goes on and claims to be licensed."""
    _withdrawn(scene, LicenseStatus.REFUNDED)


def patched_build(scene: Scene) -> None:
    """A subscription ended, and the check was patched out: it claims one, from a build of no release."""
    spell = scene.spell()
    key = _ended(scene, spell)
    copy = scene.copy(key, scene.before(spell), spell[1])
    copy.script.clear()
    release = next(each for each in scene.terms.releases if each.version == copy.server.version)
    version = scene.dice.one_of((release.version, f"{release.version}-r2"))
    build = f"x{scene.dice.number(10**8, 10**9)}"
    copy.change(spell[0], version=version, build=build, claims="licensed")
    scene.misuse(spell, [copy], key)


def patched_without_key(scene: Scene) -> None:
    """A patched build without any key claims to be licensed."""
    spell = scene.spell()
    build = f"x{scene.dice.number(10**8, 10**9)}"
    copy = scene.copy(None, spell[0], spell[1], build=build, claims="licensed", claimed_source="direct")
    copy.script.clear()
    scene.misuse(spell, [copy], None)


def wrong_product(scene: Scene) -> None:
    """The key of a cheaper product of the vendor is used for this one."""
    spell = scene.spell()
    key = scene.license(scene.customer(), is_of_sibling=True, edition="starter")
    copy = scene.copy(key, spell[0], spell[1], claims="licensed")
    scene.misuse(spell, [copy], key)


def clock_set_back(scene: Scene) -> None:
    """A subscription ended, and the clock is set back before its end: times jump back while numbers go on."""
    spell = scene.spell()
    key = _ended(scene, spell)
    copy = scene.copy(key, scene.before(spell), spell[1])
    at = spell[0]
    while at < min(spell[1], scene.end):
        until = at + scene.days(10, 30)
        behind = until - spell[0] + scene.days(1, 20)
        scene.reboot(copy, at, clock_off=-behind, claims="licensed")
        at = until
    scene.misuse(spell, [copy], key)


def cheap_country_key(scene: Scene) -> None:
    """A license sold for a country with low prices, and valid there only by its terms, is used elsewhere."""
    spell, country = scene.spell(), scene.dice.one_of(LOW_PRICES)
    key = scene.license(scene.customer(country), territory=country, source="reseller")
    rich = scene.dice.one_of(("US", "DE", "GB", "CH", "NL", "AU", "CA"))
    copy = scene.copy(key, spell[0], spell[1], scene.network(rich))
    scene.misuse(spell, [copy], key)


def unlicensed_in_production(scene: Scene) -> None:
    """A copy without a key works in production, and says that it is unlicensed."""
    spell = scene.spell()
    copy = scene.copy(None, spell[0], spell[1], claims="unlicensed", level="usage")
    scene.misuse(spell, [copy], None)


def _ended(scene: Scene, spell: Spell) -> License:
    """A subscription that ends when the spell begins."""
    return scene.license(scene.customer(), type=LicenseType.SUBSCRIPTION, expires_at=spell[0])


def _withdrawn(scene: Scene, status: LicenseStatus) -> None:
    spell, key = scene.spell(), scene.license(scene.customer(), scene.dice.number(1, 3))
    copies = [
        scene.copy(key, scene.before(spell), spell[1], claims="licensed")
        for _ in range(scene.dice.number(1, 3))
    ]
    key.change(spell[0], status=status)
    scene.misuse(spell, copies, key)


def _alternate(scene: Scene, copy: CopyPlan, clone: Server, spell: Spell) -> None:
    """In that time each number is taken by the server that is first; the other's ping with it is a fork."""
    original, interval = copy.server, scene.terms.interval
    stored, other = original, clone
    turns = [True, True]  # each is first once
    number = 1 + (spell[0] - copy.first) // interval
    at = copy.first + number * interval - interval // 10
    while at < min(spell[1], scene.end):
        if turns.pop() if turns else scene.dice.chance(0.5):
            stored, other = other, stored
            copy.change(at, "heartbeat", **elsewhere(stored))
        scene.rival(copy, at + scene.dice.number(interval // 4, interval * 9 // 10), other)
        at += interval
    if stored is clone:
        copy.change(at, "heartbeat", **elsewhere(original))
