-- Pings in a third of the bytes: what was JSON in each of them are columns, and names of features are numbers.
--
-- Nothing is rewritten: earlier pings keep their form until their month is dropped, and are read in both.

ALTER TABLE pings
    DROP CONSTRAINT pings_pkey,
    ALTER COLUMN details DROP NOT NULL,
    ADD COLUMN reason_code smallint,
    ADD COLUMN verdict_code smallint,
    ADD COLUMN used_since timestamptz,
    ADD COLUMN counters bytea;
COMMENT ON COLUMN pings.details IS
    'What has no column of its own. Of pings of earlier versions also what reason_code and used_since hold now.';
COMMENT ON COLUMN pings.features IS
    'Counters that counters cannot hold: without a number in feature_names, or above 2147483647. Of pings of earlier '
    'versions all.';
COMMENT ON COLUMN pings.verdict IS
    'Of pings of earlier versions: what verdict_code holds now.';
COMMENT ON COLUMN pings.verdict_code IS
    'What the registry said of the claim when the ping came. NULL, and verdict too: it came before there was a registry.';
COMMENT ON COLUMN pings.used_since IS 'When the counters were last at zero.';
COMMENT ON COLUMN pings.counters IS 'How often each feature was used since the ping before; the function counted reads it.';

ALTER TABLE installation_days ADD COLUMN counters bytea;
COMMENT ON COLUMN installation_days.counters IS 'The sums of its counters, and in features those that it cannot hold, as in pings.';

CREATE TABLE feature_names (
    number     integer PRIMARY KEY CHECK (number BETWEEN 0 AND 32767),
    name       text    NOT NULL CONSTRAINT feature_names_name_is_unique UNIQUE,
    json_key   text    NOT NULL,
    product_id uuid    NOT NULL
);
COMMENT ON COLUMN feature_names.json_key IS
    'The name in quotes, and a colon: views write JSON with it in half of the time of jsonb_object_agg.';
COMMENT ON TABLE feature_names IS
    'A row is the name of a feature and its number in the counters of pings and installation_days; product_id named it '
    'first. Written by the writer before the first ping with the name. Kept for ever: a number is never used again.';

CREATE FUNCTION verdict_code(verdict text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['valid', 'trial', 'over_seats', 'expired', 'suspended', 'revoked', 'wrong_product',
                            'wrong_place', 'unknown_key', 'no_key'], verdict)::smallint;
COMMENT ON FUNCTION verdict_code IS 'The number of a verdict in pings; a new verdict takes the next one.';

CREATE FUNCTION verdict_of(code smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ARRAY['valid', 'trial', 'over_seats', 'expired', 'suspended', 'revoked', 'wrong_product',
              'wrong_place', 'unknown_key', 'no_key'])[code];
COMMENT ON FUNCTION verdict_of IS 'The verdict with that number.';

CREATE FUNCTION reason_code(reason text) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['start', 'heartbeat', 'license', 'manual'], reason)::smallint;
COMMENT ON FUNCTION reason_code IS 'The number of a reason in pings; a new reason takes the next one.';

CREATE FUNCTION reason_of(code smallint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ARRAY['start', 'heartbeat', 'license', 'manual'])[code];
COMMENT ON FUNCTION reason_of IS 'The reason with that number.';

CREATE FUNCTION ping_details(reason_code smallint, used_since timestamptz, details jsonb) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_strip_nulls(jsonb_build_object(
    'reason', reason_of(reason_code),
    'usage', CASE WHEN used_since IS NOT NULL THEN jsonb_build_object('since', replace(
        to_char(used_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')) END
)) || coalesce(details, '{}');
COMMENT ON FUNCTION ping_details IS
    'What does not stay the same from ping to ping, as a document, of the columns of pings that hold it.';

CREATE FUNCTION counted(counters bytea) RETURNS TABLE (number integer, uses bigint)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    -- A series in the target list is not materialised: half of the time of one in FROM. OFFSET 0 computes widths once.
    SELECT CASE w.number WHEN 1 THEN get_byte(counters, 1 + n)
                         ELSE get_byte(counters, 1 + 2 * n) * 256 + get_byte(counters, 2 + 2 * n) END,
           CASE w.uses WHEN 1 THEN get_byte(counters, at + n)
                       WHEN 2 THEN get_byte(counters, at + 2 * n) * 256 + get_byte(counters, at + 1 + 2 * n)
                       ELSE ((get_byte(counters, at + 4 * n) * 256 + get_byte(counters, at + 1 + 4 * n)) * 256
                             + get_byte(counters, at + 2 + 4 * n)) * 256 + get_byte(counters, at + 3 + 4 * n)
                       END::bigint
    FROM (
        SELECT c.number, c.uses, 1 + c.count * c.number AS at, generate_series(0, c.count - 1) AS n
        FROM (
            SELECT b.number, b.uses, (length(counters) - 1) / (b.number + b.uses) AS count
            FROM (SELECT get_byte(counters, 0) >> 4, get_byte(counters, 0) & 15) AS b (number, uses)
            OFFSET 0
        ) AS c
    ) AS w;
END;
COMMENT ON FUNCTION counted IS
    'The counters of a ping or a day: numbers of feature_names, and uses. The first byte is the width of a number (1 or '
    '2 bytes) times 16 and that of a count (1, 2 or 4); then come all numbers, then all counts.';

CREATE FUNCTION counters_of(numbers integer[], uses bigint[]) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
BEGIN ATOMIC
    SELECT set_byte('\x00', 0, w.number << 4 | w.uses)
           || string_agg(substr(int2send(u.number::smallint), 3 - w.number), '' ORDER BY u.number)
           || string_agg(substr(int4send(u.uses::integer), 5 - w.uses), '' ORDER BY u.number)
    FROM unnest(numbers, uses) AS u (number, uses)
    CROSS JOIN (SELECT CASE WHEN max(number) < 256 THEN 1 ELSE 2 END,
                       CASE WHEN max(uses) < 256 THEN 1 WHEN max(uses) < 65536 THEN 2 ELSE 4 END
                FROM unnest(numbers, uses) AS m (number, uses)) AS w (number, uses)
    GROUP BY w.number, w.uses;
END;
COMMENT ON FUNCTION counters_of IS
    'The inverse of counted. Numbers are below 32768, and uses below 2147483648; of no counter it is NULL.';

CREATE FUNCTION feature_uses(counters bytea, features jsonb) RETURNS TABLE (number integer, name text, uses numeric)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT c.number, '', c.uses FROM counted(counters) AS c
    UNION ALL
    SELECT coalesce(f.number, -1), CASE WHEN f.number IS NULL THEN f.key ELSE '' END, f.value::numeric
    FROM (SELECT e.key, e.value, (SELECT n.number FROM feature_names AS n WHERE n.name = e.key) AS number
          FROM jsonb_each(features) AS e OFFSET 0) AS f;
END;
COMMENT ON FUNCTION feature_uses IS
    'The uses of each feature in these columns of pings or installation_days: by its number, and where it has none, by '
    'name with the number -1.';
