-- +goose Up
-- What users and agents said, by its words: a projection of the log that is made
-- behind the recorder and may be emptied at any time.

-- Sessions that have something new: a row per batch that said so.
CREATE TABLE search_queue (
    id      bigserial        NOT NULL,
    tenant  text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- Up to which event the index has a session.
CREATE TABLE search_sessions (
    tenant  text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    seq     bigint           NOT NULL,
    PRIMARY KEY (tenant, session)
);

CREATE TABLE search_messages (
    id      bigserial        NOT NULL,
    tenant  text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    seq     bigint           NOT NULL,
    at      timestamptz      NOT NULL,
    role    text             NOT NULL,
    run     text             NOT NULL,
    agent   text             NOT NULL,
    said    text             NOT NULL,
    PRIMARY KEY (tenant, session, seq)
);
CREATE UNIQUE INDEX search_messages_id ON search_messages (id);
CREATE INDEX search_messages_newest ON search_messages (tenant, at DESC, session DESC, seq DESC);

-- The words of a message. They are in a table of their own because no index serves
-- a text search on a table with row level security: the operator is not leakproof.
-- What this table finds are numbers of rows above, where the policy is. One of the
-- words stands for the tenant, so that nobody's search reads what others have.
CREATE TABLE search_words (
    id    bigint   NOT NULL PRIMARY KEY,
    words tsvector NOT NULL
);
-- What is inserted waits in a list that every search reads: a short one, in KiB.
CREATE INDEX search_words_words ON search_words USING gin (words) WITH (gin_pending_list_limit = 512);

-- Who brings the index up to the log, and where the walk over all sessions stands.
CREATE TABLE search_state (
    one          boolean          NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    holder       text             NOT NULL DEFAULT '',
    until        timestamptz      NOT NULL DEFAULT '-infinity',
    walk_tenant  text COLLATE "C" NOT NULL DEFAULT '',
    walk_session text COLLATE "C" NOT NULL DEFAULT '',
    walk_ended   timestamptz
);
INSERT INTO search_state DEFAULT VALUES;

ALTER TABLE search_queue ENABLE ROW LEVEL SECURITY;
ALTER TABLE search_queue FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON search_queue USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE search_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE search_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON search_sessions USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE search_messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE search_messages FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON search_messages USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
