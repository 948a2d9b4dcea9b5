package app

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestWebhookKeyFile: all who come at once get one key, nothing else stays in the
// folder, and who comes later gets the same.
func TestWebhookKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "webhook.key")
	var wg sync.WaitGroup
	keys := make([]string, 8)
	for i := range keys {
		wg.Go(func() {
			key, err := webhookKeyFile(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key)
		})
	}
	wg.Wait()
	later, err := webhookKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k != string(later) || len(k) < 32 {
			t.Errorf("keys differ: %q and %q", k, later)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("in the folder: %v, %v", left, err)
	}
}
