-- +goose Up
-- Data keys of tenants, wrapped by keys that are not in the database. Times are
-- microseconds since 1970.
CREATE TABLE data_keys (
    tenant     TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    key_id     TEXT    NOT NULL,
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
);

-- Grants, registrations, secrets (vault.Entry). A deleted entry keeps its row
-- without its content, so that its versions go on; so does a leased id that has
-- no entry yet.
CREATE TABLE vault_entries (
    tenant      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    owner       TEXT    NOT NULL DEFAULT '',
    label       TEXT    NOT NULL DEFAULT '',
    version     INTEGER NOT NULL DEFAULT 0,
    sealed      BLOB,
    created_at  INTEGER NOT NULL DEFAULT 0,
    updated_at  INTEGER NOT NULL DEFAULT 0,
    lease       TEXT    NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, kind, id)
);

-- Authorizations that are under way (flow.Record).
CREATE TABLE oauth_flows (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    session     TEXT    NOT NULL,
    connection  TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    server_url  TEXT    NOT NULL,
    issuer      TEXT    NOT NULL,
    binding     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    sealed      BLOB    NOT NULL,
    answer      BLOB,
    consumed_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX oauth_flows_expired ON oauth_flows (expires_at);
