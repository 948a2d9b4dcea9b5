package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// refusals sends requests that must be refused.
func (w *world) refusals(list ...[5]string) {
	w.t.Helper()
	for _, c := range list {
		if st, body := w.call(c[0], c[1], c[2]); fmt.Sprint(st) != c[3] || !strings.Contains(body, c[4]) {
			w.t.Errorf("%s %s %.80s: %d %s; want %s and %q", c[0], c[1], c[2], st, body, c[3], c[4])
		}
	}
}

func TestScheduledMessages(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.MaxBody = 64 << 10 })
	id := w.newSession()
	path := "/v1/sessions/" + id
	say := `"agent":"demo","messages":[{"content":"hello"}]`
	w.refusals(
		[5]string{"POST", path + "/messages", `{` + say + `,"delay":"soon"}`, "400", "delay"},
		[5]string{"POST", path + "/messages", `{` + say + `,"delay":"-1s"}`, "400", "delay"},
		[5]string{"POST", path + "/messages", `{` + say + `,"delay":"1m","at":"2030-01-01T00:00:00Z"}`, "400", "give one of them"},
		[5]string{"POST", path + "/messages", `{` + say + `,"at":"2130-01-01T00:00:00Z"}`, "400", "five years"},
		[5]string{"POST", path + "/messages", `{` + say + `,"when":"now"}`, "400", "when"},
		[5]string{"POST", path + "/messages", `{"agent":"demo","messages":[{"content":"` + strings.Repeat("x", 64<<10) + `"}],"delay":"1m"}`, "413", "too_large"},
		[5]string{"POST", "/v1/sessions/nobody/messages", `{` + say + `,"delay":"1m"}`, "404", "nobody"},
		[5]string{"GET", "/v1/sessions/nobody/scheduled", ``, "404", "nobody"},
		[5]string{"DELETE", path + "/scheduled/nobody", ``, "404", "nobody"},
	)
	type settled struct {
		Run    string
		Status string
	}
	post := func(body string, key string) (s settled) {
		t.Helper()
		st, answer := w.call("POST", path+"/messages", body, "Idempotency-Key", key)
		if st != 200 {
			t.Fatalf("%d %s", st, answer)
		}
		if err := json.Unmarshal([]byte(answer), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	late := post(`{`+say+`,"delay":"48h"}`, "a")
	if again := post(`{`+say+`,"delay":"48h"}`, "a"); again != late {
		t.Errorf("the same request again: %+v, %+v", again, late)
	}
	if st, body := w.call("POST", path+"/messages", `{`+say+`,"delay":"49h"}`, "Idempotency-Key", "a"); st != 422 {
		t.Errorf("the key with another body: %d %s", st, body)
	}
	for _, route := range []string{"/messages", "/runs"} {
		if st, body := w.call("POST", path+route, `{`+say+`}`, "Idempotency-Key", "a"); st != 422 {
			t.Errorf("%s, the key of a run for later: %d %s", route, st, body)
		}
	}
	soon := post(`{`+say+`,"at":"2027-01-01T00:00:00+01:00"}`, "b")
	at := time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)
	var list struct{ Runs []httpapi.ScheduledRun }
	w.mustCall("GET", path+"/scheduled", "", &list)
	want := []string{late.Run, soon.Run}
	if at.Before(time.Now().Add(48 * time.Hour)) {
		want = []string{soon.Run, late.Run}
	}
	if len(list.Runs) != 2 || list.Runs[0].Run != want[0] || list.Runs[1].Run != want[1] || list.Runs[0].Messages[0].Content != "hello" {
		t.Fatalf("scheduled: %+v, want %v", list.Runs, want)
	}
	var run struct{ Status, Reason string }
	w.mustCall("GET", path+"/runs/"+soon.Run, "", &run)
	if run.Status != "scheduled" {
		t.Errorf("the run is %q", run.Status)
	}
	for range 2 { // to take back what was taken back changes nothing
		w.mustCall("DELETE", path+"/scheduled/"+soon.Run, "", nil)
	}
	w.mustCall("GET", path+"/scheduled", "", &list)
	if len(list.Runs) != 1 || list.Runs[0].Run != late.Run {
		t.Errorf("scheduled: %+v", list.Runs)
	}
	w.mustCall("GET", path+"/runs/"+soon.Run, "", &run)
	if run.Status != "finished" || run.Reason != "canceled" {
		t.Errorf("the run that was taken back: %+v", run)
	}
	// Without a time it is a run like any other, which cannot be taken back.
	now := post(`{`+say+`}`, "c")
	w.mustCall("GET", path+"/events?until="+now.Run, "", nil)
	w.refusals([5]string{"DELETE", path + "/scheduled/" + now.Run, ``, "409", "finished"})
}

// copyOf exports a session.
func (w *world) copyOf(id string) []byte {
	w.t.Helper()
	st, body := w.call("GET", "/v1/sessions/"+id+"/export", "")
	if st != 200 {
		w.t.Fatalf("export: %d %s", st, body)
	}
	return []byte(body)
}

func TestExportImport(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"big <ö>\n"}]}`, nil)
	if st, _ := w.call("GET", "/v1/sessions/"+id+"/events?until=run", ""); st != 200 {
		t.Fatal(st)
	}
	w.until("the session to rest", func() bool {
		log := w.stored(id)
		return log[len(log)-1].Type == holdfast.TypeSessionParked
	})
	file := w.copyOf(id)
	want := w.stored(id)
	post := func(query string, body []byte) (int, string) {
		t.Helper()
		return w.call("POST", "/v1/sessions/import"+query, string(body))
	}
	// Over itself: nothing changes. Under another id: event for event the same.
	if st, body := post("", file); st != 200 || !strings.Contains(body, `"id":"`+id+`"`) {
		t.Errorf("the session over itself: %d %s", st, body)
	}
	if st, body := post("?id=copy", file); st != 201 || !strings.Contains(body, fmt.Sprintf(`"seq":%d`, len(want))) {
		t.Fatalf("import: %d %s", st, body)
	}
	if d := cmp.Diff(want, w.stored("copy")); d != "" {
		t.Errorf("events (-original +copy):\n%s", d)
	}
	if back := w.copyOf("copy"); !bytes.Equal(bytes.Replace(back, []byte(`"session":"copy"`), []byte(`"session":"`+id+`"`), 1), file) {
		t.Error("the copy of the copy is another file")
	}
	// It goes on, in the next epoch; then the file is not its log any more.
	w.mustCall("POST", "/v1/sessions/copy/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, nil)
	w.mustCall("GET", "/v1/sessions/copy/events?until=run&types=run_finished&after="+fmt.Sprint(len(want)), "", nil)
	log := w.stored("copy")
	if claim := log[len(want)]; claim.Type != holdfast.TypeSessionClaimed || claim.Epoch != want[len(want)-1].Epoch+1 {
		t.Errorf("after the import: %s in epoch %d", claim.Type, claim.Epoch)
	}
	w.refusals(
		[5]string{"POST", "/v1/sessions/import?id=copy", string(file), "409", "another session copy"},
		[5]string{"GET", "/v1/sessions/nobody/export", "", "404", "nobody"},
		[5]string{"POST", "/v1/sessions/import?id=no.id", string(file), "400", "only letters"},
		[5]string{"POST", "/v1/sessions/import?as=x", string(file), "400", "as"},
	)

	// An import that broke off goes on.
	part := want[:len(want)/2]
	at := 0
	ref := holdfast.SessionRef{Tenant: "default", Session: "half"}
	reader := &events.Reader{Bus: w.bus, Store: w.store}
	if _, err := events.Import(t.Context(), reader, ref, func() (events.Envelope, error) {
		if at == len(part) {
			return events.Envelope{}, io.EOF
		}
		at++
		return part[at-1], nil
	}); err != nil {
		t.Fatal(err)
	}
	if st, body := post("?id=half", file); st != 201 {
		t.Fatalf("the second half: %d %s", st, body)
	}
	if d := cmp.Diff(want, w.stored("half")); d != "" {
		t.Errorf("events (-original +in two halves):\n%s", d)
	}

	// Damaged files are refused by line, and leave nothing.
	lines := bytes.SplitAfter(bytes.TrimSuffix(file, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(lines[len(lines)-1], '\n')
	join := func(parts ...[][]byte) []byte {
		var all []byte
		for _, p := range parts {
			all = append(all, bytes.Join(p, nil)...)
		}
		return all
	}
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":                 {nil, "line 1: the file is empty"},
		"something else":        {[]byte("{}\n"), "line 1: this is no exported session"},
		"of the future":         {bytes.Replace(file, []byte(`"v":1`), []byte(`"v":9`), 1), "line 1: the form of the export has version 9"},
		"an event is missing":   {join(lines[:3], lines[4:]), "line 4: event 4 breaks the rule seq"},
		"an event twice":        {join(lines[:4], lines[3:]), "line 5: event 3 breaks the rule seq"},
		"no beginning":          {join(lines[:1], lines[2:]), "line 2: "},
		"cut in a line":         {file[:len(file)-len(lines[len(lines)-1])-5], "the file breaks off"},
		"cut between lines":     {join(lines[:len(lines)-1]), "its last line, which says that it is whole, is missing"},
		"a changed word":        {bytes.Replace(file, []byte(`"reason":"command"`), []byte(`"reason":"demands"`), 1), "the events were changed"},
		"a crafted log":         {bytes.Replace(file, []byte(`"agent":"root"`), []byte(`"agent":"boot"`), 1), "breaks the rule stream"},
		"a broken line":         {bytes.Replace(file, []byte(`{"seq":2,`), []byte(`{"seq":2`), 1), "line 3: this is no event"},
		"something behind":      {join(lines, lines[1:2]), "something follows the end"},
		"an epoch that falls":   {bytes.Replace(file, []byte(`{"seq":5,"epoch":1`), []byte(`{"seq":5,"epoch":0`), 1), "line 6: event 5 breaks the rule epoch"},
		"a payload that is odd": {bytes.Replace(file, []byte(`"tools_approved":false`), []byte(`"tools_approved":"x"`), 1), "line 2: event 1 breaks the rule payload"},
	} {
		if st, body := post("?id=damaged", c.file); st != 400 || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s; want 400 and %q", name, st, body, c.says)
		}
	}
	if st, _ := w.call("GET", "/v1/sessions/damaged", ""); st != 404 {
		t.Errorf("a damaged file left a session: %d", st)
	}
}

// A payload that is no JSON on one line comes back byte for byte, too.
func TestCopyOddPayloads(t *testing.T) {
	created, err := holdfast.MarshalPayload(&holdfast.SessionCreatedEvent{Title: "<a> & b"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 1000, time.UTC)
	want := []events.Envelope{{Seq: 1, Time: at, Type: holdfast.TypeSessionCreated, V: 1, Payload: created}}
	for _, p := range []string{"{}", " {}", "{\n}", "\"<\\u00e9é>\"", "not JSON", `{"a": 1 }`} {
		want = append(want, events.Envelope{Seq: uint64(len(want) + 1), Time: at, Type: "of_the_future", V: 3, Run: "r", Agent: "ö", Payload: []byte(p)})
	}
	var file bytes.Buffer
	c, err := events.NewCopyWriter(&file, "s")
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if err := c.Event(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := events.NewCopyReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	var got []events.Envelope
	for {
		e, err := r.Next()
		if err == io.EOF { //nolint:errorlint // the promise is this very value
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	path := "/v1/sessions/" + id + "/events"
	w.refusals(
		[5]string{"GET", path + "?pace=fast", "", "400", "pace"},
		[5]string{"GET", path + "?pace=0x", "", "400", "pace"},
		[5]string{"GET", path + "?pace=NaN", "", "400", "pace"},
		[5]string{"GET", path + "?max_gap=0s", "", "400", "max_gap"},
		[5]string{"GET", path + "?types=a,,b", "", "400", "types"},
		[5]string{"GET", path + "?limit=0", "", "400", "limit"},
		[5]string{"GET", path + "?wait=1h", "", "400", "wait"},
		[5]string{"GET", path + "?position=perhaps", "", "400", "position"},
		[5]string{"GET", path + "?after=99&wait=1s", "", "410", `"head":1`},
		[5]string{"GET", "/v1/sessions/nobody/events?wait=1s", "", "404", "nobody"},
	)
	w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, nil)
	lines := func(query string) []string {
		t.Helper()
		resp := w.open(t.Context(), http.MethodGet, path+query+"&position=false", "", "Accept", "application/x-ndjson")
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s %v", query, resp.StatusCode, b, err)
		}
		if resp.Header.Get("Holdfast-Seq") == "" {
			t.Errorf("%s: the answer does not say where the session stands", query)
		}
		return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
	}
	all := lines("?until=idle")
	if n := len(lines("?until=idle&types=agent_choice,run_finished")); n != 4 {
		t.Errorf("%d events of two types, want 4", n)
	}
	var steps []string
	for len(steps) < len(all) {
		steps = append(steps, lines(fmt.Sprintf("?wait=false&limit=3&after=%d", len(steps)))...)
	}
	if d := cmp.Diff(all, steps); d != "" {
		t.Errorf("step by step (-whole +steps):\n%s", d)
	}
	if got := lines("?wait=false&pace=original&max_gap=1ms"); cmp.Diff(all, got) != "" {
		t.Errorf("at the original pace: %d events of %d", len(got), len(all))
	}
	if got := lines("?wait=20s"); cmp.Diff(all, got) != "" {
		t.Errorf("a long poll gives %d events of %d", len(got), len(all))
	}
	if got := lines(fmt.Sprintf("?wait=20ms&after=%d", len(all))); len(got) != 0 {
		t.Errorf("a long poll at the end gives %v", got)
	}
	// A long poll that waits is woken by the event.
	got := make(chan []string)
	go func() { got <- lines(fmt.Sprintf("?wait=30s&after=%d", len(all))) }()
	w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, nil)
	if list := <-got; len(list) == 0 {
		t.Error("a long poll was not woken")
	}
}

// TestPace replays a log that was made with known pauses.
func TestPace(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var evs []events.Envelope
	for i, gap := range []time.Duration{0, 100 * time.Millisecond, 100 * time.Millisecond, time.Hour} {
		at = at.Add(gap)
		e := events.Envelope{Seq: uint64(i + 1), Time: at, Type: "note", V: 1, Payload: []byte("{}")}
		if i == 0 {
			e.Type = holdfast.TypeSessionCreated
		}
		evs = append(evs, e)
	}
	n := 0
	if _, err := events.Import(t.Context(), &events.Reader{Bus: w.bus, Store: w.store}, holdfast.SessionRef{Tenant: "default", Session: "slow"}, func() (events.Envelope, error) {
		if n == len(evs) {
			return events.Envelope{}, io.EOF
		}
		n++
		return evs[n-1], nil
	}); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]time.Duration{
		"pace=original&max_gap=200ms": 400 * time.Millisecond,
		"pace=2x&max_gap=100ms":       200 * time.Millisecond,
		"pace=original&limit=3":       200 * time.Millisecond,
	} {
		start := time.Now()
		w.mustCall("GET", "/v1/sessions/slow/events?wait=false&types=session_created,note&"+query, "", nil)
		if took := time.Since(start); took < want || took > want+30*time.Second {
			t.Errorf("%s took %v, want %v", query, took, want)
		}
	}
}
