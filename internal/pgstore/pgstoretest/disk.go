// Package pgstoretest lets a database fail as a disk lets it.
package pgstoretest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Disk is the disk of a database, as a test sees it.
type Disk struct {
	t    testing.TB
	conn *pgx.Conn
}

// NewDisk puts the database of a DSN on a disk that [Disk.Full] fills. Its schema
// is there already.
//
// No mount is needed, and no other database of the server notices: triggers before
// the writes to all tables raise the error that Postgres itself raises when a file
// cannot be extended, SQLSTATE 53100, at the same moment and with the same effect
// on the transaction.
func NewDisk(t testing.TB, dsn string) *Disk {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	d := &Disk{t, conn}
	d.Room()
	rows, err := conn.Query(t.Context(), `SELECT format('CREATE TRIGGER disk BEFORE INSERT OR UPDATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION disk()', oid::regclass)
		FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements { // one by one: each waits for those who write
		d.exec(s)
	}
	return d
}

func (d *Disk) exec(sql string) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// Full lets every write fail from now on.
func (d *Disk) Full() {
	d.t.Helper()
	d.exec(`CREATE OR REPLACE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'could not extend file "base/5/16385": No space left on device' USING ERRCODE = 'disk_full', HINT = 'Check free disk space.';
	END $$`)
}

// Room lets writes succeed again.
func (d *Disk) Room() {
	d.t.Helper()
	d.exec(`CREATE OR REPLACE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
}
