"""A keyring that is away, damaged, old or another one: copies are known all the same, and the operator is warned."""

import asyncio
import json
import os
import resource
import shutil
import signal
import uuid
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from installation import Installation, post
from patience import until
from test_kill import workers_of

from telemetry_server import durable
from telemetry_server.errors import Unauthenticated
from telemetry_server.keyring import (
    Keyring,
    KeyringDamaged,
    KeyringError,
    KeyringMissing,
    open_keyring,
    read_keyring,
    rotate,
)
from telemetry_server.receive.signature import Verifier
from telemetry_server.store.access.keyring_check import (
    KeyringDiffers,
    KeyringOutdated,
    abandon_master,
    open_keyring_of,
    rotate_keyring_of,
)


async def readiness(server):
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/readyz") as answer:
        document = await answer.json()
    [check] = [each for each in document["checks"] if each["name"] == "keyring"]
    return answer.status, check


async def until_ready(server, status, stranger=None):
    """What /readyz says of the keyring. `stranger` has a key that is not known: its upload has the server look."""

    async def ready():
        found, check = await readiness(server)
        if found != status and stranger:
            await stranger.send()
        return found == status and check

    return await until(ready, every=0.2, otherwise=f"/readyz is not {status}")


def away(path):
    path.unlink()


def unreadable(path):
    """Not by its mode, which is nothing to root."""
    path.unlink()
    path.mkdir()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])


def another(path):
    path.unlink()
    open_keyring(path)


def with_a_changed_master(path):
    document = json.loads(path.read_text())
    document["masters"]["k1"]["secret"] = "ab" * 32
    path.write_text(json.dumps(document))


def from_before_a_rotation(path):
    document = json.loads(path.read_text())
    del document["masters"]["k2"]
    path.write_text(json.dumps(document | {"current": "k1"}))


WRONGS = {
    away: "missing",
    unreadable: "cannot be read",
    cut_short: "damaged",
    another: "not the one that this database was made with",
    with_a_changed_master: "not the one that this database was made with",
    from_before_a_rotation: "from before a rotation",
}


async def test_whatever_happens_to_the_file_the_keys_in_memory_stay(server):
    server.command("keyring", "rotate")
    file = server.data / "keyring.json"
    good = file.read_bytes()
    known, stranger = await Installation.enrolled(server), await Installation.enrolled(server)
    stranger.key = "k9"
    await until_ready(server, 200)
    for wrong, said in WRONGS.items():
        wrong(file)
        check = await until_ready(server, 503, None if wrong is away else stranger)
        assert said in check["detail"], wrong
        assert (await known.send()).statuses == ["accepted"], wrong
        assert (await (await Installation.enrolled(server)).send()).statuses == ["accepted"], wrong
        if wrong is away:
            assert not file.exists()
        if wrong is unreadable:
            file.rmdir()
        durable.write(file, good)
        await until_ready(server, 200, None if wrong is away else stranger)
        assert (await known.send()).statuses == ["accepted"], wrong
    logged = [json.loads(line) for line in server.errors().splitlines() if line.startswith("{")]
    errors = [line for line in logged if line["message"] == "keyring unusable; the keys in memory stay"]
    assert len(errors) == len(WRONGS)
    assert {line["severity"] for line in errors} == {"error"}
    assert len([line for line in logged if line["message"] == "keyring usable again"]) == len(WRONGS)


async def test_a_disk_that_hangs_costs_one_thread_and_the_keys_in_memory_stay(server):
    """A named pipe to which no one writes: who opens it waits, as on a network file system that is gone."""
    file = server.data / "keyring.json"
    copy = await Installation.enrolled(server)
    stranger = await Installation.enrolled(server)
    stranger.key = "k2"
    file.rename(server.data / "moved.json")
    os.mkfifo(file)
    check = await until_ready(server, 503)
    assert "cannot be read" in check["detail"]
    answers = await asyncio.gather(*(stranger.send() for _ in range(20)))
    assert {answer.status for answer in answers} == {503}
    assert (await copy.send()).statuses == ["accepted"]
    os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))  # fails unless one is waiting
    (server.data / "moved.json").replace(file)
    await until_ready(server, 200)
    assert (await copy.send()).statuses == ["accepted"]
    assert (await stranger.send()).status == 401
    assert server.terminate() == 0


async def test_while_the_keyring_is_away_a_key_that_is_not_known_is_asked_to_come_back(server):
    """It may be from a rotation that this process could not read: 401 would silence the copy for a day."""
    copy = await Installation.enrolled(server)
    copy.key = "k2"
    assert (await copy.send()).status == 401
    (server.data / "keyring.json").rename(server.data / "moved.json")
    assert (await copy.send()).status == 503
    body = json.dumps({"forked_from": copy.id}).encode()
    headers = {"Authorization": f"Bearer {server.product_key}"}
    forked = await post(
        f"{server.url}/v1/enroll", body, headers | {"Telemetry-Signature": copy.sign(body, "/v1/enroll")}
    )
    assert forked.status == 503
    (server.data / "moved.json").rename(server.data / "keyring.json")
    assert (await copy.send()).status == 401


async def test_doctor_fails_while_the_keyring_is_not_the_one_of_the_database(server):
    file = server.data / "keyring.json"
    good = file.read_bytes()
    server.command("keyring", "rotate")
    rotated = file.read_bytes()
    for content, failed in ((good, "from before a rotation"), (b"{", "not a keyring"), (rotated, None)):
        file.write_bytes(content)
        done = await asyncio.to_thread(command, server, "doctor", "--listen", server.listen, "--json")
        found = [c for c in json.loads(done)["checks"] if c["check"] in {"keyring", "master keys"}]
        wrong = [check["detail"] for check in found if check["outcome"] == "failed"]
        assert any(failed in detail for detail in wrong) if failed else wrong == []


def command(server, *arguments):
    import subprocess
    import sys

    environment = os.environ | {"TELEMETRY_DATABASE_URL": server.database, "TELEMETRY_DATA": str(server.data)}
    done = subprocess.run(
        [sys.executable, "-m", "telemetry_server", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


async def test_a_worker_that_dies_while_the_keyring_is_away_comes_back_with_the_keys(make_server):
    server = make_server(workers=2)
    copy = await Installation.enrolled(server)
    (server.data / "keyring.json").rename(server.data / "moved.json")
    before = workers_of(server.process.pid)
    for worker in before:
        os.kill(worker, signal.SIGKILL)

    async def replaced():
        return len(set(workers_of(server.process.pid)) - set(before)) == 2 and await answers(server)

    await until(replaced, every=0.1)
    assert (await copy.send()).statuses == ["accepted"]
    assert not (server.data / "keyring.json").exists()


async def answers(server):
    try:
        return (await readiness(server))[0]
    except aiohttp.ClientError:
        return None


async def test_a_process_without_file_descriptors_says_so_and_nothing_of_the_keyring(server):
    copy = await Installation.enrolled(server)
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def said_when_short_of_files():
        taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
        return "Too many open files" in server.errors()

    await until(said_when_short_of_files, every=0.1, otherwise=server.errors)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    logged = server.errors()
    await until_ready(server, 200)
    assert (await copy.send()).statuses == ["accepted"]
    assert "keyring" not in logged
    assert "backup" not in logged


def test_without_file_descriptors_the_error_is_not_of_the_keyring(tmp_path):
    open_keyring(tmp_path / "keyring.json")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) - 1, before[1]))
    held = []
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files") as caught:
            read_keyring(tmp_path / "keyring.json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)
    assert not isinstance(caught.value, KeyringError)
    assert "keyring" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_keyring_that_an_editor_of_windows_saved_is_the_same(tmp_path, encoding):
    path = tmp_path / "keyring.json"
    made = open_keyring(path)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_keyring(path).master_check_values == made.master_check_values
    rotate(path)
    assert read_keyring(path).masters.keys() == {"k1", "k2"}


def test_a_keyring_of_brackets_is_damaged_and_no_mistake_of_this_software(tmp_path):
    path = tmp_path / "keyring.json"
    path.write_text("[" * 200_000)
    with pytest.raises(KeyringDamaged, match="Restore it from a backup"):
        read_keyring(path)


def test_a_master_key_that_changed_has_other_secrets_at_once():
    product = type("Product", (), {"id": uuid.uuid4(), "slug": "example"})()
    keyring = Keyring(Path("keyring.json"), {"k1": b"a" * 32}, "k1", b"p" * 32)
    verifier = Verifier(keyring, lambda _: product)
    enrolled = {"secret": "A" * 43, "key": "k1", "product": "example", "notice": None}
    copy = Installation("", {"installation_id": str(uuid.uuid4()), **enrolled})
    copy.secret = keyring.secret("k1", product.id, uuid.UUID(copy.id))
    assert verifier.sender(copy.sign(b"{}"), "POST", "/v1/pings", b"{}").secret == copy.secret
    keyring.masters = {"k1": b"b" * 32}
    with pytest.raises(Unauthenticated):
        verifier.sender(copy.sign(b"{}"), "POST", "/v1/pings", b"{}")


# ── what the database remembers ─────────────────────────────────────────────────────────────


async def test_a_keyring_from_before_a_rotation_is_refused_at_the_start(server, tmp_path):
    file = server.data / "keyring.json"
    old = file.read_bytes()
    server.command("keyring", "rotate")
    copy = await enrolled_with(server, "k2")
    assert (await copy.send()).statuses == ["accepted"]
    newest = file.read_bytes()
    server.kill()
    file.write_bytes(old)
    with pytest.raises(RuntimeError, match="before a rotation: it lacks the master key k2"):
        server.start()
    server.kill()
    assert "before a rotation" in command(server, "keyring", "rotate")
    assert file.read_bytes() == old
    file.write_bytes(newest)
    server.start()
    assert (await copy.send()).statuses == ["accepted"]


async def enrolled_with(server, key):
    async def with_it():
        copy = await Installation.enrolled(server)
        return copy.key == key and copy

    return await until(with_it, every=0.2)


async def test_a_changed_master_key_is_refused_at_the_start(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    with_a_changed_master(file)
    with pytest.raises(KeyringDiffers, match="another master key k1"):
        await open_keyring_of(connection, file)
    with pytest.raises(KeyringDiffers):
        await rotate_keyring_of(connection, file)


async def test_a_database_from_before_this_version_remembers_the_master_keys_it_is_shown(
    connection, tmp_path
):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    await connection.execute("DELETE FROM master_keys")
    rotate(file)
    await open_keyring_of(connection, file)
    assert await connection.fetchval("SELECT array_agg(key ORDER BY key) FROM master_keys") == ["k1", "k2"]
    values = await connection.fetch("SELECT check_value FROM master_keys")
    secrets = file.read_text()
    assert not any(row["check_value"].hex() in secrets for row in values)


async def test_no_id_is_used_twice_whatever_becomes_of_its_key(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    first = file.read_bytes()
    assert await rotate_keyring_of(connection, file) == "k2"
    second = file.read_bytes()
    file.write_bytes(first)
    with pytest.raises(KeyringOutdated, match="keyring abandon k2"):
        await rotate_keyring_of(connection, file)
    await abandon_master(connection, "k2", file)
    assert await rotate_keyring_of(connection, file) == "k3"
    assert read_keyring(file).masters.keys() == {"k1", "k3"}
    with pytest.raises(KeyringOutdated, match="k3"):
        file.write_bytes(second)
        await open_keyring_of(connection, file)


async def test_an_abandoned_key_is_good_again_where_its_keyring_turns_up(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    old = file.read_bytes()
    await rotate_keyring_of(connection, file)
    new = file.read_bytes()
    with pytest.raises(Exception, match="it is not lost"):
        await abandon_master(connection, "k2", file)
    file.write_bytes(old)
    with pytest.raises(Exception, match="knows no master key k7"):
        await abandon_master(connection, "k7", file)
    await abandon_master(connection, "k2", file)
    assert (await open_keyring_of(connection, file)).current == "k1"
    file.write_bytes(new)
    assert (await open_keyring_of(connection, file)).current == "k2"


async def test_of_two_rotations_on_two_machines_one_is_refused(database, tmp_path):
    """Each has a copy of the keyring; the second has to bring the first one's."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    connections = [await asyncpg.connect(database) for _ in files]
    await open_keyring_of(connections[0], files[0])
    shutil.copy(files[0], files[1])
    done = await asyncio.gather(*map(rotate_keyring_of, connections, files), return_exceptions=True)
    for connection in connections:
        await connection.close()
    [key] = [each for each in done if isinstance(each, str)]
    [refused] = [each for each in done if not isinstance(each, str)]
    assert key == "k2"
    assert isinstance(refused, KeyringOutdated)
    assert sorted(read_keyring(file).masters.keys() == {"k1", "k2"} for file in files) == [False, True]


async def test_rotations_at_once_give_each_its_own_id(database, tmp_path):
    file = tmp_path / "keyring.json"
    connections = [await asyncpg.connect(database) for _ in range(5)]
    await open_keyring_of(connections[0], file)
    keys = await asyncio.gather(*(rotate_keyring_of(connection, file) for connection in connections))
    remembered = await connections[0].fetchval("SELECT count(*) FROM master_keys")
    for connection in connections:
        await connection.close()
    assert sorted(keys) == ["k2", "k3", "k4", "k5", "k6"]
    assert remembered == len(read_keyring(file).masters) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root rotates the keyring of another user")
async def test_a_rotation_by_root_leaves_the_file_to_the_servers_user(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    os.chown(file, 65534, 65534)
    await rotate_keyring_of(connection, file)
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (65534, 65534, 0o600)


# ── what a power cut has left ───────────────────────────────────────────────────────────────


async def test_the_file_that_a_power_cut_left_without_its_name_is_taken(server):
    copy = await Installation.enrolled(server)
    server.kill()
    file = server.data / "keyring.json"
    file.rename(server.data / ".keyring.json.62d4029c")
    open_keyring(server.data / "elsewhere.json").path.rename(server.data / ".keyring.json.00000000")
    (server.data / ".keyring.json.11111111").write_text('{"version": 1, "curr')
    server.start()
    assert (await copy.send()).statuses == ["accepted"]
    assert "keyring taken from the file that a power cut left" in server.errors()
    assert file.exists()
    assert not (server.data / ".keyring.json.62d4029c").exists()


async def test_of_two_such_files_none_is_chosen(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    shutil.copy(file, tmp_path / ".keyring.json.aaaaaaaa")
    file.rename(tmp_path / ".keyring.json.bbbbbbbb")
    with pytest.raises(KeyringMissing, match=r"fits.*aaaaaaaa.*bbbbbbbb"):
        await open_keyring_of(connection, file)
    assert not file.exists()


async def test_a_left_file_without_the_newest_key_is_not_taken(connection, tmp_path):
    file = tmp_path / "keyring.json"
    await open_keyring_of(connection, file)
    shutil.copy(file, tmp_path / ".keyring.json.aaaaaaaa")
    await rotate_keyring_of(connection, file)
    file.unlink()
    with pytest.raises(KeyringMissing, match="Restore it from a backup"):
        await open_keyring_of(connection, file)
    assert not file.exists()


async def test_a_link_to_a_disk_that_is_not_mounted_makes_no_keyring(connection, tmp_path):
    link = tmp_path / "keyring.json"
    link.symlink_to(tmp_path / "not mounted" / "keyring.json")
    with pytest.raises(KeyringMissing):
        await open_keyring_of(connection, link)
    assert not (tmp_path / "not mounted").exists()
