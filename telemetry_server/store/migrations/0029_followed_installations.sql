-- Installations that someone follows on the page "Live".

CREATE TABLE followed_installations (
    installation_id uuid        PRIMARY KEY,
    followed_until  timestamptz NOT NULL,
    pings           jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(pings) = 'array')
);
COMMENT ON TABLE followed_installations IS
    'A row is an installation that someone follows on the page "Live", with its 20 newest pings since then: the declared '
    'fields as they were sent, the names of what was dropped, the outcome. Written by each server process. Removed two '
    'minutes after the last one looked.';
COMMENT ON COLUMN followed_installations.pings IS 'The newest first. Without digests and without the values of dropped fields.';
