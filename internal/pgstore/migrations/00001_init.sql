-- +goose Up
-- Collation C: keys are ASCII, compare fastest so, and sort as in every store.
CREATE TABLE cursors (
    stream   text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

-- A row is a session's projection (events.SessionInfo). It is updated with every
-- batch that has events of the session: room in the page and indexes on nothing
-- that changes with each event keep those updates within the page (HOT).
CREATE TABLE sessions (
    tenant         text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL,
    head_seq       bigint           NOT NULL,
    head_epoch     bigint           NOT NULL,
    created_at     timestamptz      NOT NULL,
    updated_at     timestamptz      NOT NULL,
    num_messages   bigint           NOT NULL,
    input_tokens   bigint           NOT NULL,
    output_tokens  bigint           NOT NULL,
    cost           double precision NOT NULL,
    fork_seq       bigint           NOT NULL,
    loose          integer          NOT NULL,
    tools_approved boolean          NOT NULL,
    deleted        boolean          NOT NULL,
    purged         boolean          NOT NULL DEFAULT false,
    compactable    boolean          NOT NULL,
    title          text             NOT NULL,
    agent          text             NOT NULL,
    status         text             NOT NULL,
    waiting        text             NOT NULL,
    worker         text             NOT NULL,
    run            text             NOT NULL,
    fork_of        text COLLATE "C" NOT NULL,
    metadata       text             NOT NULL,
    PRIMARY KEY (tenant, id)
) WITH (fillfactor = 60);
CREATE INDEX sessions_newest ON sessions (tenant, created_at DESC, id DESC) WHERE NOT deleted;
CREATE INDEX sessions_active ON sessions (status, worker) WHERE status IN ('queued', 'running') AND NOT deleted;
CREATE INDEX sessions_forks ON sessions (tenant, fork_of) WHERE fork_of <> '';
CREATE INDEX sessions_compactable ON sessions (tenant, id) WHERE compactable;

-- A row is a run of consecutive events, one per session and recorded batch,
-- later merged. The data is compressed already.
CREATE TABLE event_chunks (
    tenant    text COLLATE "C" NOT NULL,
    session   text COLLATE "C" NOT NULL,
    first_seq bigint           NOT NULL,
    last_seq  bigint           NOT NULL,
    size      integer          NOT NULL,
    data      bytea            NOT NULL,
    PRIMARY KEY (tenant, session, first_seq)
);
ALTER TABLE event_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE snapshots (
    tenant  text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    seq     bigint           NOT NULL,
    format  text             NOT NULL,
    data    bytea            NOT NULL,
    PRIMARY KEY (tenant, session, seq)
);

CREATE TABLE memories (
    tenant     text COLLATE "C" NOT NULL,
    agent      text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    created_at timestamptz      NOT NULL,
    category   text             NOT NULL,
    content    text             NOT NULL,
    PRIMARY KEY (tenant, agent, id)
);

-- Every transaction says for which tenant it acts; '*' is for the recorder and
-- for housekeeping. Who says nothing sees nothing. The subquery makes the server
-- look at the setting once per statement instead of once per row.
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sessions USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE event_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_chunks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON event_chunks USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON snapshots USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE memories ENABLE ROW LEVEL SECURITY;
ALTER TABLE memories FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON memories USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
