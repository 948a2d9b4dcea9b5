-- +goose Up
-- What is due is looked for webhook by webhook, and what was given up by state: no
-- look walks a backlog.
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (tenant, webhook, due) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (tenant, webhook, at DESC) WHERE state = 'failed';
DROP INDEX webhook_deliveries_due;

-- The secret before the one of now signs too, until then; 0 if there is none.
ALTER TABLE webhooks ADD COLUMN secret_before BLOB;
ALTER TABLE webhooks ADD COLUMN before_until INTEGER NOT NULL DEFAULT 0;
