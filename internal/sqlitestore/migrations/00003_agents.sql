-- +goose Up
-- A row is one version of an agent file of a tenant; rows never change.
CREATE TABLE agent_revisions (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    digest     TEXT    NOT NULL,
    origin     TEXT    NOT NULL,
    source     BLOB    NOT NULL,
    PRIMARY KEY (tenant, name, number)
);
