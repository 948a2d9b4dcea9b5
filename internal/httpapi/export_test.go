package httpapi

// LiveFeeds returns how many sessions are followed.
func (a *API) LiveFeeds() int { return a.hub.live() }

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
