"""Ordinary customers, of whom nothing looks guilty: the truth does not name them."""

from telemetry_server.model import LicenseType
from telemetry_server.simulate.dice import Weighted
from telemetry_server.simulate.scene import LOW_PRICES, Scene
from telemetry_server.simulate.tales import CopyPlan
from telemetry_server.simulate.world import DAY

_TRIAL = 30 * DAY
_ENVIRONMENT = Weighted((("production", 86), ("staging", 9), ("development", 5)))
_NOISE = Weighted(
    (
        ("none", 80),
        ("off for a while", 8),
        ("offline", 4),
        ("lost pings", 3.5),
        ("duplicates", 4),
        ("reboots", 20),
        ("new address", 6),
    )
)


def paying_customer(scene: Scene) -> None:
    """A license with seats enough, and copies that come and go."""
    seats, customer = scene.dice.pick(scene.world.seats), scene.customer()
    is_cheap = customer.country in LOW_PRICES and scene.dice.chance(0.7)
    key = scene.license(customer, seats, territory=customer.country if is_cheap else None)
    for _ in range(max(1, round(seats * (0.5 + 0.5 * scene.dice.unit())))):
        environment = scene.dice.pick(_ENVIRONMENT)
        first = scene.moment(0, 0.3) if scene.dice.chance(0.7) else scene.moment(0, 0.95)
        leaves = scene.dice.chance(0.15)
        gone = first + scene.dice.exponential(0.6 * scene.over.length) if leaves else None
        network = scene.network(customer.country) if is_cheap else None
        noise(scene, scene.copy(key, first, gone, network, environment=environment))


def two_licenses(scene: Scene) -> None:
    """A customer that bought twice, with a copy or two on each."""
    customer = scene.customer()
    for _ in range(2):
        key = scene.license(customer, 2)
        for _ in range(scene.dice.number(1, 3)):
            noise(scene, scene.copy(key))


def trial(scene: Scene) -> None:
    """A trial that goes on to the end, or ends unused."""
    first = scene.moment(0.1, 1)
    key = scene.trial(scene.customer(), first - DAY // 8, _TRIAL)
    gone = first + scene.days(3, 30) if scene.dice.chance(0.5) else first + _TRIAL
    scene.copy(key, first, gone)


def converted_trial(scene: Scene) -> None:
    """A trial that became a purchase: with another key."""
    customer, first = scene.customer(), scene.moment(0.05, 0.5)
    length = scene.days(7, 30)
    trial_license = scene.trial(customer, first - DAY // 8, length + DAY)
    bought = scene.license(customer, starts_at=first + length - DAY // 24)
    copy = scene.copy(trial_license, first)
    copy.change(first + length, "license", license=bought)


def ended_subscription(scene: Scene) -> None:
    """A subscription that ended: its copy says so, and is switched off within weeks."""
    ends_at = scene.moment(0.3, 0.9)
    key = scene.license(scene.customer(), type=LicenseType.SUBSCRIPTION, expires_at=ends_at)
    scene.copy(key, scene.moment(0, 0.2), ends_at + scene.days(0, 20))


def unused_license(scene: Scene) -> None:
    """A license that no copy uses yet."""
    scene.license(scene.customer(), scene.dice.pick(scene.world.seats))


def noise(scene: Scene, copy: CopyPlan) -> None:
    """What happens to any server: it is off for a while, or offline, loses pings, or is restarted."""
    dice = scene.dice
    kind, at = dice.pick(_NOISE), copy.first + int(dice.unit() * (copy.gone - copy.first))
    match kind:
        case "off for a while":
            copy.silent.append((at, at + scene.pings(1, 8)))
        case "offline":
            copy.offline.append((at, at + scene.pings(2, 4)))
        case "lost pings":
            copy.dropped.append((at, at + scene.pings(1, 4)))
        case "duplicates":
            copy.duplicates = dice.number(1, 4)
        case "reboots":
            scene.reboot(copy, min(at, scene.end))
        case "new address":
            copy.change(min(at, scene.end), "heartbeat", address=copy.server.network.address(dice))
