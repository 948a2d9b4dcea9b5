-- +goose Up
CREATE TABLE cursors (
    stream   TEXT    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
);

-- A row is a session's projection (events.SessionInfo). Times are microseconds
-- since 1970.
CREATE TABLE sessions (
    tenant         TEXT    NOT NULL,
    id             TEXT    NOT NULL,
    head_seq       INTEGER NOT NULL,
    head_epoch     INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    num_messages   INTEGER NOT NULL,
    input_tokens   INTEGER NOT NULL,
    output_tokens  INTEGER NOT NULL,
    cost           REAL    NOT NULL,
    fork_seq       INTEGER NOT NULL,
    loose          INTEGER NOT NULL,
    tools_approved INTEGER NOT NULL,
    deleted        INTEGER NOT NULL,
    purged         INTEGER NOT NULL DEFAULT 0,
    compactable    INTEGER NOT NULL,
    title          TEXT    NOT NULL,
    agent          TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    waiting        TEXT    NOT NULL,
    worker         TEXT    NOT NULL,
    run            TEXT    NOT NULL,
    fork_of        TEXT    NOT NULL,
    metadata       TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX sessions_newest ON sessions (tenant, created_at DESC, id DESC) WHERE deleted = 0;
CREATE INDEX sessions_active ON sessions (status, worker) WHERE status IN ('queued', 'running') AND deleted = 0;
CREATE INDEX sessions_forks ON sessions (tenant, fork_of) WHERE fork_of <> '';
CREATE INDEX sessions_compactable ON sessions (tenant, id) WHERE compactable = 1;

-- A row is a run of consecutive events, one per session and recorded batch,
-- later merged. Tables with a rowid take inserts twice as fast as without.
CREATE TABLE event_chunks (
    tenant    TEXT    NOT NULL,
    session   TEXT    NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    data      BLOB    NOT NULL,
    PRIMARY KEY (tenant, session, first_seq)
);

CREATE TABLE snapshots (
    tenant  TEXT    NOT NULL,
    session TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    format  TEXT    NOT NULL,
    data    BLOB    NOT NULL,
    PRIMARY KEY (tenant, session, seq)
);

CREATE TABLE memories (
    tenant     TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    category   TEXT    NOT NULL,
    content    TEXT    NOT NULL,
    PRIMARY KEY (tenant, agent, id)
);
