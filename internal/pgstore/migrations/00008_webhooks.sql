-- +goose NO TRANSACTION
-- +goose Up
-- Recorders write to webhook_deliveries while this runs: no statement keeps them
-- waiting, none holds its locks until the next is done, and each may be run again
-- after an interruption. An index whose making was cut short is there, but invalid, and
-- serves no query: it goes first.
-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indexrelid IN (to_regclass('webhook_deliveries_pending'), to_regclass('webhook_deliveries_failed')) AND NOT i.indisvalid
    LOOP
        EXECUTE format('DROP INDEX %I', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- What is due is looked for webhook by webhook, and what was given up by state: no
-- look walks a backlog. Programs of the version before look by webhook_deliveries_due,
-- which therefore stays.
CREATE INDEX CONCURRENTLY IF NOT EXISTS webhook_deliveries_pending ON webhook_deliveries (tenant, webhook, due) WHERE state = 'pending';
CREATE INDEX CONCURRENTLY IF NOT EXISTS webhook_deliveries_failed ON webhook_deliveries (tenant, webhook, at DESC) WHERE state = 'failed';

-- The secret before the one of now signs too, until then.
ALTER TABLE webhooks ADD COLUMN IF NOT EXISTS secret_before bytea;
ALTER TABLE webhooks ADD COLUMN IF NOT EXISTS before_until timestamptz;
