package httpapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

// The page shows every operation and schema, links to nothing that is not there,
// loads nothing, and needs no key.
func TestPage(t *testing.T) {
	keys, err := tenant.ParseKeys([]string{"acme:key-of-acme-00001"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *httpapi.Config) { c.Keys = keys })
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]json.RawMessage }
	}
	w.mustCall("GET", "/openapi.json", "", &doc)
	resp := w.open(t.Context(), "GET", "/docs", "")
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", resp.StatusCode, err)
	}
	text := string(body)
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src") {
		t.Errorf("policy %s", policy)
	}
	for path, item := range doc.Paths {
		for _, op := range item {
			if !strings.Contains(text, fmt.Sprintf(`id=%q`, op.OperationID)) {
				t.Errorf("no operation %s of %s", op.OperationID, path)
			}
		}
	}
	if len(doc.Paths) < 20 || len(doc.Components.Schemas) < 20 {
		t.Errorf("%d paths, %d schemas", len(doc.Paths), len(doc.Components.Schemas))
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		id, inside := strings.CutPrefix(link[1], "#")
		if inside && !strings.Contains(text, `id="`+id+`"`) || !inside && link[1] != "openapi.json" && link[1] != "openapi.yaml" {
			t.Errorf("a link to %s", link[1])
		}
	}
	for _, bad := range []string{"<script", "src=", "@import", "url("} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}
