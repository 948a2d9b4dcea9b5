-- +goose Up
-- What users and agents said, by its words: a projection of the log that is made
-- behind the recorder and may be emptied at any time.

-- Sessions that have something new: a row per batch that said so.
CREATE TABLE search_queue (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  TEXT NOT NULL,
    session TEXT NOT NULL
);

-- Up to which event the index has a session.
CREATE TABLE search_sessions (
    tenant  TEXT    NOT NULL,
    session TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (tenant, session)
);

CREATE TABLE search_messages (
    id      INTEGER PRIMARY KEY,
    tenant  TEXT    NOT NULL,
    session TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    role    TEXT    NOT NULL,
    run     TEXT    NOT NULL,
    agent   TEXT    NOT NULL,
    said    TEXT    NOT NULL,
    UNIQUE (tenant, session, seq)
);

-- The words of a message, which package search cuts and folds: the tokenizer takes
-- what stands between spaces as it is.
CREATE VIRTUAL TABLE search_words USING fts5(words, content='', contentless_delete=1, tokenize='ascii');

-- Who brings the index up to the log, and where the walk over all sessions stands.
CREATE TABLE search_state (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    holder       TEXT    NOT NULL,
    until        INTEGER NOT NULL,
    walk_tenant  TEXT    NOT NULL,
    walk_session TEXT    NOT NULL,
    walk_ended   INTEGER NOT NULL
);
INSERT INTO search_state VALUES (1, '', 0, '', '', 0);
