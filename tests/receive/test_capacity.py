"""What makes room where the budget of request bytes is used up."""

import asyncio
import socket

from telemetry_server.receive.capacity import GRACE_SECONDS, Capacity

MIB = 2**20


async def test_who_announces_bodies_one_after_another_shields_no_slower_one(request):
    capacity = Capacity(most_connections=10, most_bytes=3 * MIB)
    busy, slow, fresh = [capacity.admit(await transport(request)) for _ in range(3)]
    assert busy.expects(MIB)
    assert slow.expects(MIB)
    await asyncio.sleep(GRACE_SECONDS * 1.1)
    assert busy.expects(MIB)
    assert fresh.expects(2 * MIB)
    assert set(capacity.announced) == {busy, fresh}


async def transport(request):
    ours, theirs = socket.socketpair()
    request.addfinalizer(theirs.close)
    made, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    request.addfinalizer(made.abort)
    return made
