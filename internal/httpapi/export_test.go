package httpapi

import (
	"context"
	"net"
)

// ConnOf returns the connection of a request.
func ConnOf(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}

// LiveFeeds returns how many sessions are followed.
func (a *API) LiveFeeds() int { return a.hub.live() }

// Followers returns how many streams their feeds write.
func (a *API) Followers() int {
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	n := 0
	for _, f := range a.hub.feeds {
		f.mu.Lock()
		for _, fl := range f.followers {
			if !fl.gone.Load() {
				n++
			}
		}
		f.mu.Unlock()
	}
	return n
}

// AsChunk makes a chunk of an answer of data.
func AsChunk(data []byte) []byte {
	chunk, _ := asChunk(append(make([]byte, chunkHead), data...))
	return chunk
}

// For the fuzz tests.
var (
	RunInput        = runInput
	Template        = template
	UserMessages    = userMessages
	ParsePageCursor = parsePageCursor
	StatusOf        = statusOf
)

// MaxLine is the longest line of the legacy routes.
const MaxLine = maxLine

// LegacyLines turns one event into the lines of the legacy stream.
func LegacyLines(typ, agent, session string, seq uint64, line []byte) ([]byte, error) {
	it := item{seq: seq, typ: typ, agent: agent, line: line, sse: appendEvent(nil, seq, line)}
	return newLegacyWire(session).append(nil, &it)
}

// Routes returns what is mounted, as METHOD /path.
func (a *API) Routes() []string { return a.patterns }

// RefusedByName returns the routes of newer clients that are refused, without their
// mount.
func RefusedByName() map[string]bool {
	routes := map[string]bool{}
	for _, n := range notOffered {
		routes[n.method+" "+n.path] = true
	}
	return routes
}
