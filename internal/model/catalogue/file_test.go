package catalogue

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file that changes counts after at most checkEvery; one that breaks does not.
func TestFileFollowsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "models.json")
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	write := func(text string) {
		t.Helper()
		at = at.Add(time.Second) // file systems may count in seconds
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"openai":{"models":{"m":{"cost":{"input":1,"output":2},"limit":{"context":10}}}}}`)
	var logged bytes.Buffer
	f, err := OpenFile(path, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	price := func() (float64, string) {
		t.Helper()
		i, ok := f.Catalogue().Lookup("openai", "m")
		if !ok {
			t.Fatal("the model is not known")
		}
		return i.Price.Input, i.PriceVersion
	}
	first, v1 := price()
	write(`{"openai":{"models":{"m":{"cost":{"input":3,"output":2},"limit":{"context":10}}}}}`)
	if p, _ := price(); p != first {
		t.Errorf("the file was read again at once")
	}
	now = now.Add(checkEvery)
	second, v2 := price()
	if first != 1 || second != 3 || v1 == v2 || !strings.HasPrefix(v2, "file-") {
		t.Errorf("%v (%s), then %v (%s)", first, v1, second, v2)
	}
	write(`{`)
	for range 2 {
		now = now.Add(checkEvery)
		if p, v := price(); p != 3 || v != v2 {
			t.Errorf("a broken file counts: %v %s", p, v)
		}
	}
	if n := strings.Count(logged.String(), "cannot be read again"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &logged)
	}
	if _, err := OpenFile(path, nil); err == nil {
		t.Error("a broken file is taken at the start")
	}
}

func TestNoFile(t *testing.T) {
	f, err := OpenFile("", nil)
	if err != nil || f.Catalogue() != Default() {
		t.Errorf("%v", err)
	}
}
