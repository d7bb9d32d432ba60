-- What is to be cleared up: one row for each kind of doubt about a license, a key or an installation.

CREATE TABLE clear_up_items (
    clear_up_id     uuid        PRIMARY KEY,
    kind            text        NOT NULL CHECK (kind ~ '^[a-z_]{1,64}$'),
    subject         text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 300),
    product_id      uuid        NOT NULL REFERENCES products ON DELETE CASCADE,
    license_id      uuid        REFERENCES licenses ON DELETE CASCADE,
    size            bigint      NOT NULL CHECK (size > 0),
    evidence        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(evidence) = 'object'),
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    state           text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'asked', 'explained')),
    explained_until date,
    owner           text        CHECK (length(owner) BETWEEN 1 AND 300),
    CONSTRAINT clear_up_items_subject_is_unique UNIQUE (kind, subject),
    CONSTRAINT clear_up_items_are_explained_until_a_day CHECK ((state = 'explained') = (explained_until IS NOT NULL))
);
CREATE INDEX clear_up_items_open ON clear_up_items (kind, size) WHERE closed_at IS NULL;
COMMENT ON TABLE clear_up_items IS
    'A row is a doubt about a license, a key or an installation (subject), and how far people are with it. Written by '
    'the job "list what to clear up", which closes it when its facts are gone and opens it again when they are back; '
    'state, owner and explained_until by the page "To clear up". Kept for ever.';
COMMENT ON COLUMN clear_up_items.subject IS
    'The id of the license or the installation; of an unknown key the id of its product, a slash, and its hash in hex.';
COMMENT ON COLUMN clear_up_items.size IS 'How many copies; of an identity that copies share, how many forked pings.';
COMMENT ON COLUMN clear_up_items.first_at IS 'Since when the facts hold, as far as known when the row was opened.';

CREATE TABLE clear_up_changes (
    change_id   uuid        NOT NULL,
    clear_up_id uuid        NOT NULL REFERENCES clear_up_items ON DELETE CASCADE,
    changed_at  timestamptz NOT NULL,
    actor       text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 300),
    note        text        CHECK (length(note) BETWEEN 1 AND 1000),
    before      jsonb       NOT NULL,
    after       jsonb       NOT NULL,
    undone_at   timestamptz,
    PRIMARY KEY (change_id, clear_up_id)
);
CREATE INDEX clear_up_changes_of ON clear_up_changes (clear_up_id, changed_at);
COMMENT ON TABLE clear_up_changes IS
    'A row is what a person did with an item: its state, owner and explained_until before and after. The rows of one action '
    'have the same change_id, and are undone together. Written by the page "To clear up". Kept as long as the item.';
