-- +goose Up
-- What is due is looked for webhook by webhook, and what was given up by state: no
-- look walks a backlog.
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (tenant, webhook, due) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (tenant, webhook, at DESC) WHERE state = 'failed';
DROP INDEX webhook_deliveries_due;

-- The secret before the one of now signs too, until then.
ALTER TABLE webhooks ADD COLUMN secret_before bytea;
ALTER TABLE webhooks ADD COLUMN before_until timestamptz;
