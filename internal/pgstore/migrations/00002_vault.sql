-- +goose Up
-- Data keys of tenants, wrapped by keys that are not in the database.
CREATE TABLE data_keys (
    tenant     text COLLATE "C" NOT NULL,
    version    bigint           NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    wrapped    bytea            NOT NULL,
    created_at timestamptz      NOT NULL,
    PRIMARY KEY (tenant, version)
);

-- Grants, registrations, secrets (vault.Entry). A deleted entry keeps its row
-- without its content, so that its versions go on; so does a leased id that has
-- no entry yet.
CREATE TABLE vault_entries (
    tenant      text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL DEFAULT '',
    label       text             NOT NULL DEFAULT '',
    version     bigint           NOT NULL DEFAULT 0,
    sealed      bytea,
    created_at  timestamptz,
    updated_at  timestamptz,
    lease       text             NOT NULL DEFAULT '',
    lease_until timestamptz,
    PRIMARY KEY (tenant, kind, id)
);

-- Authorizations that are under way (flow.Record).
CREATE TABLE oauth_flows (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    session     text COLLATE "C" NOT NULL,
    connection  text COLLATE "C" NOT NULL,
    name        text             NOT NULL,
    server_url  text             NOT NULL,
    issuer      text             NOT NULL,
    binding     text             NOT NULL,
    created_at  timestamptz      NOT NULL,
    expires_at  timestamptz      NOT NULL,
    sealed      bytea            NOT NULL,
    answer      bytea,
    consumed_at timestamptz,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX oauth_flows_expired ON oauth_flows (expires_at);

ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON data_keys USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE vault_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vault_entries USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE oauth_flows ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_flows FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON oauth_flows USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
