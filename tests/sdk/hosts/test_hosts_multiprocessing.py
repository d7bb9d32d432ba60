"""The children of multiprocessing and concurrent.futures, by each way to start them."""

import pytest

small = pytest.mark.small
KINDS = ("processes", "terminated-processes", "pool-closed", "pool-terminated", "pool-recycled", "executor")
METHODS = ("fork", "spawn", "forkserver")
EVERY = [(kind, method) for kind in KINDS for method in METHODS]
SMALL = {
    ("processes", "spawn"),
    ("pool-terminated", "fork"),
    ("pool-closed", "forkserver"),
    ("executor", "fork"),
}


def cases(every, some):
    return [pytest.param(*case, marks=[small] if case in some else [], id=" ".join(case)) for case in every]


def made(make_stand, kind, method, ends):
    """A pool that recycles its processes forks from a thread of its own."""
    name = f"multiprocessing {kind}, {method}"
    return make_stand(None, name, ends, forks_beside_threads=kind == "pool-recycled")


@pytest.mark.parametrize(("kind", "method"), cases(EVERY, SMALL))
def test_a_child_that_ends_loses_no_count(make_stand, kind, method):
    stand = made(make_stand, kind, method, "by itself")
    stand.run("-m", "pools", kind, method)
    stand.judge(at_least=200 if kind == "terminated-processes" else 600)


@pytest.mark.parametrize(("kind", "method"), cases(EVERY, {("pool-closed", "fork")}))
def test_a_program_that_is_killed_loses_no_count(make_stand, kind, method):
    stand = made(make_stand, kind, method, "kill -9 at work")
    process = stand.start("-m", "pools", kind, method)
    stand.until_returned(300)
    stand.kill(process)
    stand.judge(at_least=300)


@pytest.mark.parametrize("method", METHODS)
def test_a_program_whose_children_are_killed_loses_no_count(make_stand, method):
    stand = made(make_stand, "processes", method, "children killed at random")
    process = stand.start("-m", "pools", "processes", method)
    for returned in (100, 200, 300):
        stand.until_returned(returned)
        stand.kill_one(process)
    stand.ended(process, seconds=60)
    stand.judge(at_least=300)
