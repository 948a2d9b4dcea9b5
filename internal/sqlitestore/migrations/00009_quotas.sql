-- +goose Up
-- What tenants may use: what the operator has set, as JSON.
CREATE TABLE quotas (
    tenant     TEXT    NOT NULL PRIMARY KEY,
    quota      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
);

-- Permits for requests: what was left at a time.
CREATE TABLE quota_permits (
    tenant  TEXT    NOT NULL PRIMARY KEY,
    left_at REAL    NOT NULL,
    at      INTEGER NOT NULL
);

-- Places of open runs of tenants whose runs are limited.
CREATE TABLE quota_runs (
    tenant   TEXT    NOT NULL,
    session  TEXT    NOT NULL,
    run      TEXT    NOT NULL,
    taken_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, session, run)
);

-- How much the archive had of a tenant when somebody looked. begun_at keeps others
-- from looking at the same time.
CREATE TABLE quota_storage (
    tenant      TEXT    NOT NULL PRIMARY KEY,
    bytes       INTEGER NOT NULL,
    measured_at INTEGER NOT NULL,
    begun_at    INTEGER NOT NULL
);
