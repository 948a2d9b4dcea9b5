package pgstore_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/internal/agent/agenttest"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/oauth/vault/vaulttest"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/quota/quotatest"
	"github.com/holdfast-run/holdfast/internal/schedule/scheduletest"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/webhook/webhooktest"
)

// TestOutcomes cuts the connection of every kind of write just before the server
// is told to commit, and just after it did. [TestLostCommit] does so to many
// batches.
func TestOutcomes(t *testing.T) {
	dsn := database(t)
	p := newProxy(t, dsn)
	s, err := pgstore.Open(t.Context(), p.dsn, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fail := func(happened bool) {
		if happened {
			p.arm(cutAfter)
		} else {
			p.arm(cutBefore)
		}
	}
	t.Run("snapshots", func(t *testing.T) { eventstest.SnapshotOutcomes(t, s, fail) })
	t.Run("schedules", func(t *testing.T) { scheduletest.Outcomes(t, s, fail) })
	t.Run("quotas", func(t *testing.T) { quotatest.Outcomes(t, s, fail) })
	t.Run("webhooks", func(t *testing.T) { webhooktest.Outcomes(t, s, fail) })
	t.Run("search", func(t *testing.T) { searchtest.Outcomes(t, s, fail) })
	t.Run("vault", func(t *testing.T) { vaulttest.Outcomes(t, s, fail) })
	t.Run("agents", func(t *testing.T) { agenttest.Outcomes(t, s, fail) })
}
