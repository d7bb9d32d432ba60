"""What commands say of a clock that is, or was, wrong."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from telemetry_server.store.job_log import lock_number
from telemetry_server.store.partitions import make_partitions

DAY = timedelta(days=1)


async def one_ping(connection, at):
    product, copy = uuid4(), uuid4()
    await make_partitions(connection, at.date())
    await connection.execute(
        "INSERT INTO products VALUES ($1, 'billing', 'Billing', 86400, $2)",
        *(product, at),
    )
    await connection.execute(
        "INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,"
        " last_received_at, last_sequence, last_occurred_at, state)"
        " VALUES ($1, $2, '{[1,2)}', '{}', $3, $3, 1, $3, decode(repeat('00', 16), 'hex'))",
        *(copy, product, at),
    )
    await connection.execute(
        "INSERT INTO pings (received_at, installation_id, sequence, ping_id, occurred_at, time_suspect, state, details)"
        " VALUES ($1, $2, 1, $2, $1, false, decode(repeat('00', 16), 'hex'), '{}')",
        *(at, copy),
    )


async def test_run_does_a_job_whose_last_run_lies_in_the_future(operator, connection):
    await connection.execute(
        "INSERT INTO jobs VALUES ('make partitions', $1, $1, NULL)", datetime.now(UTC) + 500 * DAY
    )
    assert operator("run", "make", "partitions").stdout.startswith("make partitions: ")


async def test_run_says_that_another_process_is_at_it_only_where_one_is(operator, connection):
    await connection.execute("SELECT pg_advisory_lock($1)", lock_number("make partitions"))
    assert "Another process" in operator.error("run", "make", "partitions", exit_code=5)
    await connection.execute("SELECT pg_advisory_unlock_all()")
    operator("run", "make", "partitions")
    operator("run", "make", "partitions")


async def test_a_job_that_forgets_asks_whether_the_clock_is_right(operator, connection):
    await one_ping(connection, datetime.now(UTC) - 500 * DAY)
    said = operator.error("run", "forget old pings")
    assert "Nothing is forgotten: the clock jumped" in said
    assert "telemetry-server run forget sessions --clock-is-right" in said
    assert await connection.fetchval("SELECT count(*) FROM pings") == 1
    report = operator.json("doctor", exit_code=1)
    [found] = [check for check in report["checks"] if check["check"] == "clock"]
    assert (found["outcome"], found["advice"]) == ("failed", "Until then, no old data is deleted.")
    assert "500 days after" in found["detail"]
    operator("run", "forget sessions", "--clock-is-right")
    operator("run", "forget old pings")
    assert await connection.fetchval("SELECT count(*) FROM pings") == 0


async def test_doctor_says_for_a_week_what_was_taken_back(operator, connection):
    now = datetime.now(UTC)
    await connection.execute("INSERT INTO rollup_marks VALUES ('serving', $1)", now + 40 * DAY)
    await connection.execute("INSERT INTO jobs VALUES ('roll up pings', $1, $1, NULL)", now + 40 * DAY)

    def doctor(check):
        report = operator.json("doctor", exit_code=1)
        return [(each["outcome"], each["detail"]) for each in report["checks"] if each["check"] == check]

    [(outcome, detail)] = doctor("clock")
    assert outcome == "failed"
    assert "lie in the future" in detail
    assert any("that counts as never" in detail for _, detail in doctor("jobs"))
    operator("run", "take back future times")
    operator("run", "roll up pings")
    [(outcome, detail)] = doctor("clock")
    assert outcome == "warning"
    assert "took back watermarks: 1; the clock had been ahead until" in detail
    await connection.execute("UPDATE jobs SET found_at = found_at - interval '8 days'")
    assert doctor("clock") == [("ok", "agrees with the database and the pings")]
