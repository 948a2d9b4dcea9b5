package client_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestSearch: what was said is found, page by page, and the session is there as it
// was then.
func TestSearch(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	word := "quokka" + holdfast.NewID()[:8]
	var ids []string
	for i := range 3 {
		doc, err := c.CreateSession(ctx, client.NewSession{Agent: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, doc.ID)
		s, err := c.StartRun(ctx, doc.ID, client.NewRun{Messages: []client.Message{{Content: fmt.Sprintf("the <i>%s</i> number %d", word, i)}}})
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range c.Events(ctx, doc.ID, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if ev, ok := e.Event.(*holdfast.RunFinishedEvent); ok && ev.Run == s.Run {
				break
			}
		}
	}
	find := func(q client.SearchQuery) (hits []client.SearchHit) {
		t.Helper()
		for h, err := range c.Search(ctx, q) {
			if err != nil {
				t.Fatal(err)
			}
			hits = append(hits, h)
		}
		return hits
	}
	var hits []client.SearchHit
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 { // a minute: the index is behind
		if hits = find(client.SearchQuery{Text: word, Role: holdfast.RoleUser, Page: 1}); len(hits) == len(ids) {
			break
		}
		<-tick.C
	}
	if len(hits) != len(ids) {
		t.Fatalf("%d hits", len(hits))
	}
	slices.Reverse(hits) // the newest is first
	for i, h := range hits {
		if h.Session != ids[i] || h.Role != holdfast.RoleUser || h.Text() != fmt.Sprintf("the <i>%s</i> number %d", word, i) || len(h.Snippet) != 3 || !h.Snippet[1].Hit || h.Snippet[1].Text != word {
			t.Errorf("hit %d: %+v", i, h)
		}
		doc, err := c.GetSessionAt(ctx, h.Session, h.Seq)
		if err != nil || doc.Messages[len(doc.Messages)-1].Seq != h.Seq {
			t.Errorf("the session at %d: %+v, %v", h.Seq, doc, err)
		}
	}
	if got := find(client.SearchQuery{Text: word + " number", Session: ids[1], BySession: true}); len(got) != 1 || got[0].Session != ids[1] {
		t.Errorf("of one session: %+v", got)
	}
	if err := c.DeleteSession(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	if got := find(client.SearchQuery{Text: word, Role: holdfast.RoleUser}); len(got) != 2 {
		t.Errorf("after a deletion: %+v", got)
	}
	for _, err := range c.Search(ctx, client.SearchQuery{Text: "-x"}) {
		if holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("only words to leave out: %v", err)
		}
	}
}
