"""Files put in place: two processes at once."""

import pytest

from telemetry_server import durable


def test_of_two_that_write_one_file_at_once_the_first_gives_up_and_the_second_is_whole(tmp_path):
    """A backup by cron that takes longer than until the next one must not leave half of it as the backup."""
    path = tmp_path / "backup.dump"
    first, second = durable.whole(path), durable.whole(path)
    first.__enter__().write_bytes(b"all of it")
    part = second.__enter__()
    part.write_bytes(b"half")
    with pytest.raises(BlockingIOError, match="Another process writes"):
        first.__exit__(None, None, None)
    assert not path.exists()
    part.write_bytes(b"all of it again")
    second.__exit__(None, None, None)
    assert path.read_bytes() == b"all of it again"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_replaced_and_what_fails_leaves_nothing(tmp_path):
    path = tmp_path / "backup.dump"
    path.write_bytes(b"the one before")
    (tmp_path / "backup.dump.part").write_bytes(b"half")
    with pytest.raises(KeyError), durable.whole(path) as part:
        assert part.read_bytes() == b""
        part.write_bytes(b"half")
        raise KeyError
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]
