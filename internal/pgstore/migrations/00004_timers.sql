-- +goose Up
-- Timers that are set and have not fired: a projection of the log. due is when
-- the timer is sent (again), sent how often it was.
CREATE TABLE timers (
    tenant  text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    timer   text COLLATE "C" NOT NULL,
    at      timestamptz      NOT NULL,
    due     timestamptz      NOT NULL,
    sent    integer          NOT NULL DEFAULT 0,
    kind    text             NOT NULL,
    PRIMARY KEY (tenant, session, timer)
);
CREATE INDEX timers_due ON timers (due);
CREATE INDEX timers_of ON timers (tenant, at);

-- Schedules of a tenant that start runs at times. next_at is null for one that is
-- paused or has no further time.
CREATE TABLE schedules (
    tenant     text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    spec       text             NOT NULL,
    next_at    timestamptz,
    created_at timestamptz      NOT NULL,
    last_at    timestamptz,
    last_error text             NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

-- Addresses that hear of what happens in a tenant's sessions. secret is sealed.
CREATE TABLE webhooks (
    tenant        text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    url           text             NOT NULL,
    kinds         text             NOT NULL,
    description   text             NOT NULL,
    secret        bytea            NOT NULL,
    created_at    timestamptz      NOT NULL,
    failing_since timestamptz,
    disabled      text             NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id)
);

-- What is to be said to them: written in the transaction that records the event.
CREATE TABLE webhook_deliveries (
    tenant     text COLLATE "C" NOT NULL,
    webhook    text COLLATE "C" NOT NULL,
    session    text COLLATE "C" NOT NULL,
    seq        bigint           NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    at         timestamptz      NOT NULL,
    run        text             NOT NULL,
    agent      text             NOT NULL,
    detail     text             NOT NULL,
    due        timestamptz      NOT NULL,
    attempts   integer          NOT NULL DEFAULT 0,
    state      text             NOT NULL DEFAULT 'pending',
    status     integer          NOT NULL DEFAULT 0,
    problem    text             NOT NULL DEFAULT '',
    settled_at timestamptz,
    PRIMARY KEY (tenant, webhook, session, seq, kind)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (tenant, webhook, at DESC);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (settled_at) WHERE state <> 'pending';

-- What model calls took: a projection of the log. It stays when a session is
-- deleted.
CREATE TABLE usage (
    tenant        text COLLATE "C" NOT NULL,
    day           timestamptz      NOT NULL,
    session       text COLLATE "C" NOT NULL,
    agent         text COLLATE "C" NOT NULL,
    agent_name    text COLLATE "C" NOT NULL,
    model         text COLLATE "C" NOT NULL,
    calls         bigint           NOT NULL,
    input_tokens  bigint           NOT NULL,
    output_tokens bigint           NOT NULL,
    cached_tokens bigint           NOT NULL,
    reasoning     bigint           NOT NULL,
    cost          double precision NOT NULL,
    PRIMARY KEY (tenant, day, session, agent, agent_name, model)
);

ALTER TABLE timers ENABLE ROW LEVEL SECURITY;
ALTER TABLE timers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON timers USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE schedules ENABLE ROW LEVEL SECURITY;
ALTER TABLE schedules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON schedules USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhooks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhooks USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON webhook_deliveries USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON usage USING ((SELECT current_setting('holdfast.tenant', true)) IN (tenant, '*'));
