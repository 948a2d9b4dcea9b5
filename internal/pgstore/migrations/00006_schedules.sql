-- +goose Up
-- Schedules of a tenant that start runs again and again. next_at is null for one
-- that is paused or has no further time, due when somebody is to come to it: then,
-- or when the lease of who came before has ended. spec and last are JSON.
CREATE TABLE schedules (
    tenant     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    spec       text             NOT NULL,
    revision   bigint           NOT NULL,
    created_at timestamptz      NOT NULL,
    updated_at timestamptz      NOT NULL,
    paused     boolean          NOT NULL,
    reason     text             NOT NULL,
    next_at    timestamptz,
    due        timestamptz,
    last_at    timestamptz,
    last       text             NOT NULL DEFAULT '',
    fired      bigint           NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX schedules_due ON schedules (due) WHERE due IS NOT NULL;
CREATE INDEX schedules_newest ON schedules (tenant, created_at DESC, id DESC);

ALTER TABLE schedules ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON schedules USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
