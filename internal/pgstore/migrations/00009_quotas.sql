-- +goose Up
-- What tenants may use: what the operator has set, as JSON.
CREATE TABLE quotas (
    tenant     text COLLATE "C" NOT NULL PRIMARY KEY,
    quota      text             NOT NULL,
    updated_at timestamptz      NOT NULL
);

-- Permits for requests: what was left at a time, and what was given then.
CREATE TABLE quota_permits (
    tenant  text COLLATE "C" NOT NULL PRIMARY KEY,
    left_at double precision NOT NULL,
    granted bigint           NOT NULL,
    at      timestamptz      NOT NULL
) WITH (fillfactor = 50);

-- Places of open runs of tenants whose runs are limited.
CREATE TABLE quota_runs (
    tenant   text COLLATE "C" NOT NULL,
    session  text COLLATE "C" NOT NULL,
    run      text COLLATE "C" NOT NULL,
    taken_at timestamptz      NOT NULL,
    PRIMARY KEY (tenant, session, run)
);

-- How much the archive had of a tenant when somebody looked. begun_at keeps others
-- from looking at the same time.
CREATE TABLE quota_storage (
    tenant      text COLLATE "C" NOT NULL PRIMARY KEY,
    bytes       bigint           NOT NULL,
    measured_at timestamptz,
    begun_at    timestamptz      NOT NULL
);

ALTER TABLE quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quotas USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE quota_permits ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_permits FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quota_permits USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE quota_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quota_runs USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE quota_storage ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_storage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON quota_storage USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
