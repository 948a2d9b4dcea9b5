-- +goose Up
-- Schedules of a tenant that start runs again and again. next_at is 0 for one that
-- is paused or has no further time, due when somebody is to come to it: then, or
-- when the lease of who came before has ended. spec and last are JSON.
CREATE TABLE schedules (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    spec       TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    paused     INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    next_at    INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    last_at    INTEGER NOT NULL DEFAULT 0,
    last       TEXT    NOT NULL DEFAULT '',
    fired      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX schedules_due ON schedules (due) WHERE due <> 0;
CREATE INDEX schedules_newest ON schedules (tenant, created_at DESC, id DESC);
