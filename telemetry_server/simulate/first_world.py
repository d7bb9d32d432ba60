"""The first world: its stories with their shares. Rules and ratios may be fitted on it."""

from telemetry_server.simulate import honest_stories as honest
from telemetry_server.simulate import misuse_stories as misuse
from telemetry_server.simulate import ordinary
from telemetry_server.simulate.dice import Weighted
from telemetry_server.simulate.tales import Story, World

FIRST = World(
    name="first",
    number=1,
    odd=0.12,
    ordinary=(
        Story(ordinary.paying_customer, 70),
        Story(ordinary.two_licenses, 8),
        Story(ordinary.trial, 8),
        Story(ordinary.converted_trial, 4),
        Story(ordinary.ended_subscription, 6),
        Story(ordinary.unused_license, 4),
    ),
    honest=(
        Story(honest.failover_pair, 5),
        Story(honest.restored_snapshot, 7),
        Story(honest.golden_image, 3),
        Story(honest.nat_office, 6),
        Story(honest.vpn_office, 5),
        Story(honest.moving_office, 5),
        Story(honest.cdn_egress, 4),
        Story(honest.staging_with_production_key, 9),
        Story(honest.late_renewal, 9),
        Story(honest.wrong_clock, 6),
        Story(honest.hosting_move, 8),
        Story(honest.reseller_network, 6, 11),
        Story(honest.agency, 6, 6),
        Story(honest.reinstall_after_crash, 6),
        Story(honest.long_silence, 3),
        Story(honest.container_fleet, 2),
        Story(honest.provider_outage, 4),
        Story(honest.wrong_source, 3),
        Story(honest.key_registered_late, 5),
        Story(honest.hotfix_build, 4),
        Story(honest.key_mixed_up, 3),
        Story(honest.refund_winding_down, 5),
        Story(honest.hosted_abroad, 3),
        Story(honest.short_evaluation, 6, 0.5),
    ),
    misuse=(
        Story(misuse.key_shared_by_friends, 18),
        Story(misuse.key_in_a_forum, 5),
        Story(misuse.nulled_distribution, 6, 1),
        Story(misuse.live_clone, 7),
        Story(misuse.cloned_state_directory, 8),
        Story(misuse.over_seats_slowly, 9),
        Story(misuse.over_seats_at_once, 6),
        Story(misuse.trial_chain, 6, 4),
        Story(misuse.revoked_key_in_use, 5),
        Story(misuse.refunded_key_in_use, 5),
        Story(misuse.patched_build, 6),
        Story(misuse.patched_without_key, 4),
        Story(misuse.wrong_product, 3),
        Story(misuse.clock_set_back, 4),
        Story(misuse.cheap_country_key, 5),
        Story(misuse.unlicensed_in_production, 5),
    ),
    seats=Weighted(((1, 62), (2, 12), (3, 8), (5, 9), (10, 6), (25, 2.4), (100, 0.6))),
    lengths=Weighted((((3, 10), 20), ((10, 30), 30), ((30, 75), 50))),
    scale=1.0,
    at_home=0.85,
)
