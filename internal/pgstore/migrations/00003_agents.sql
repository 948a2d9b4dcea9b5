-- +goose Up
-- A row is one version of an agent file of a tenant; rows never change.
CREATE TABLE agent_revisions (
    tenant     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    number     bigint           NOT NULL,
    created_at timestamptz      NOT NULL,
    deleted    boolean          NOT NULL,
    digest     text             NOT NULL,
    origin     text             NOT NULL,
    source     bytea            NOT NULL,
    PRIMARY KEY (tenant, name, number)
);
ALTER TABLE agent_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_revisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON agent_revisions USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
