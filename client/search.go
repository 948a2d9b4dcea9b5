package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// SearchQuery asks for messages by their words.
type SearchQuery struct {
	// Text is what is looked for: words that must all be in one message, "words in
	// quotes" that follow each other, -word that must not be there, "or" between
	// alternatives, word* for its beginning.
	Text string
	// Session is an id, "" for all sessions; Role is "user" or "assistant", "" for both.
	Session string
	Role    holdfast.Role
	// BySession gives each session once, with its newest hit.
	BySession bool
	// Page is how many hits one request asks for, at most 100. 0 is 20.
	Page int
}

// SearchHit is a message that was found.
type SearchHit struct {
	Session string `json:"session"`
	// Title is the session's.
	Title string `json:"title"`
	// Seq is the event that completed the message: [Client.GetSessionAt] shows the
	// session as it was then.
	Seq       uint64        `json:"seq"`
	CreatedAt time.Time     `json:"created_at"`
	Role      holdfast.Role `json:"role"`
	// AgentName is the agent that said it, "" for messages of the user.
	AgentName string `json:"agent_name"`
	Run       string `json:"run"`
	// Snippet is the part of the message where the words are met first.
	Snippet []SnippetPart `json:"snippet"`
	// Indexing says that older sessions are still being added to the index: there may
	// be more.
	Indexing bool `json:"indexing,omitempty"`
}

// SnippetPart is a piece of a message. Hit says that the query looks for it.
type SnippetPart struct {
	Text string `json:"text"`
	Hit  bool   `json:"hit,omitempty"`
}

// Text is the snippet without marks.
func (h SearchHit) Text() string {
	var b strings.Builder
	for _, p := range h.Snippet {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Search gives out the messages that a query finds, the newest first, page by page.
// An error is the last thing that it gives out. A message is found about half a
// second after it was said.
func (c *Client) Search(ctx context.Context, q SearchQuery) iter.Seq2[SearchHit, error] {
	query := url.Values{"q": {q.Text}}
	if q.Page > 0 {
		query.Set("limit", strconv.Itoa(q.Page))
	}
	if q.Session != "" {
		query.Set("session", q.Session)
	}
	if q.Role != "" {
		query.Set("role", string(q.Role))
	}
	if q.BySession {
		query.Set("by", "session")
	}
	return func(yield func(SearchHit, error) bool) {
		for {
			var p struct {
				Hits     []SearchHit `json:"hits"`
				Next     string      `json:"next"`
				Indexing bool        `json:"indexing"`
			}
			if err := c.do(ctx, "GET", path("v1", "search"), query, nil, &p); err != nil {
				yield(SearchHit{}, err)
				return
			}
			for _, h := range p.Hits {
				h.Indexing = p.Indexing
				if !yield(h, nil) {
					return
				}
			}
			if p.Next == "" || p.Next == query.Get("cursor") {
				return
			}
			query.Set("cursor", p.Next)
		}
	}
}
