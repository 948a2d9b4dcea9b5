package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/internal/agent/agenttest"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/oauth/vault/vaulttest"
	"github.com/holdfast-run/holdfast/internal/quota/quotatest"
	"github.com/holdfast-run/holdfast/internal/schedule/scheduletest"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/webhook/webhooktest"
)

// TestOutcomes lets every kind of write fail at its commit, before it is done or
// after.
func TestOutcomes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "archive.db"))
	t.Run("snapshots", func(t *testing.T) { eventstest.SnapshotOutcomes(t, s, s.Fail) })
	t.Run("schedules", func(t *testing.T) { scheduletest.Outcomes(t, s, s.Fail) })
	t.Run("quotas", func(t *testing.T) { quotatest.Outcomes(t, s, s.Fail) })
	t.Run("webhooks", func(t *testing.T) { webhooktest.Outcomes(t, s, s.Fail) })
	t.Run("search", func(t *testing.T) { searchtest.Outcomes(t, s, s.Fail) })
	t.Run("vault", func(t *testing.T) { vaulttest.Outcomes(t, s, s.Fail) })
	t.Run("agents", func(t *testing.T) { agenttest.Outcomes(t, s, s.Fail) })
}
