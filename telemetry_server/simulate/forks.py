"""Forks: a second machine, or a restored snapshot, that uses the identity of the first."""

from collections.abc import Iterator
from uuid import UUID

import orjson

from telemetry_server.simulate import rows
from telemetry_server.simulate.copies import Copy, State
from telemetry_server.simulate.deals import Story, planned
from telemetry_server.simulate.history import History
from telemetry_server.simulate.terms import moment

_MINUTE = 60_000


def rivals(of: History[Copy]) -> Iterator[rows.Rival]:
    """The pings of this copy, if any, under numbers that other pings have."""
    copy = of.copy
    if copy.planned.parent is not None:
        original = planned(copy.terms.seed, copy.deal, copy.planned.parent, copy.terms.over)
        for at in (copy.planned.first - 2 * of.clock.interval, copy.planned.first - of.clock.interval):
            number = (at - original.first) // of.clock.interval + 1
            yield _rival(copy, original.id, number, at, of.pieces[0].state)
    elif copy.deal.story is Story.RESTORED:
        [run, *_] = of.runs
        number = run.first + int(run.pings * (0.5 + 0.45 * copy.dice.unit()))
        at = of.clock.made(run, number) + 7 * _MINUTE
        yield _rival(copy, copy.id, number, at, of.pieces[0].state)


def lineage(of: History[Copy]) -> Iterator[rows.Lineage]:
    """Its former identity, if it had one."""
    copy = of.copy
    if copy.planned.parent is not None:
        original = planned(copy.terms.seed, copy.deal, copy.planned.parent, copy.terms.over)
        enrolled_at = moment(copy.planned.first - 1_000)
        yield rows.Lineage(copy.id, original.id, copy.terms.product_id, enrolled_at, of.pieces[0].address)


def _rival(copy: Copy, installation_id: UUID, number: int, at: int, state: State) -> rows.Rival:
    return rows.Rival(
        installation_id=installation_id,
        sequence=number,
        ping_id=copy.dice.uuid7(at),
        received_at=moment(at + _MINUTE // 60),
        occurred_at=moment(at),
        client_address=copy.address,
        facts=state.facts_json.decode(),
        details=orjson.dumps({"reason": "start"}).decode(),
        place=state.network.place,
    )
