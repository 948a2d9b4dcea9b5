-- +goose Up
-- Timers that are set and have not fired: a projection of the log. due is when
-- the timer is sent (again), sent how often it was.
CREATE TABLE timers (
    tenant  TEXT    NOT NULL,
    session TEXT    NOT NULL,
    timer   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    sent    INTEGER NOT NULL DEFAULT 0,
    kind    TEXT    NOT NULL,
    PRIMARY KEY (tenant, session, timer)
);
CREATE INDEX timers_due ON timers (due);
CREATE INDEX timers_of ON timers (tenant, at);

-- Schedules of a tenant that start runs at times. next_at is 0 for one that is
-- paused or has no further time.
CREATE TABLE schedules (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    spec       TEXT    NOT NULL,
    next_at    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    last_error TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at > 0;

-- Addresses that hear of what happens in a tenant's sessions. secret is sealed.
CREATE TABLE webhooks (
    tenant        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    url           TEXT    NOT NULL,
    kinds         TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    secret        BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    failing_since INTEGER NOT NULL DEFAULT 0,
    disabled      TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id)
);

-- What is to be said to them: written in the transaction that records the event.
CREATE TABLE webhook_deliveries (
    tenant     TEXT    NOT NULL,
    webhook    TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    run        TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    due        INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    state      TEXT    NOT NULL DEFAULT 'pending',
    status     INTEGER NOT NULL DEFAULT 0,
    problem    TEXT    NOT NULL DEFAULT '',
    settled_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, webhook, session, seq, kind)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (tenant, webhook, at DESC);
CREATE INDEX webhook_deliveries_settled ON webhook_deliveries (settled_at) WHERE state <> 'pending';

-- What model calls took: a projection of the log. It stays when a session is
-- deleted.
CREATE TABLE usage (
    tenant        TEXT    NOT NULL,
    day           INTEGER NOT NULL,
    session       TEXT    NOT NULL,
    agent         TEXT    NOT NULL,
    agent_name    TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    calls         INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning     INTEGER NOT NULL,
    cost          REAL    NOT NULL,
    PRIMARY KEY (tenant, day, session, agent, agent_name, model)
);
