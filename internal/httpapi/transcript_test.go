package httpapi_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestTranscripts plays the conversations in testdata/*.txt. A file has
//
//	# a comment
//	> METHOD path      a request; the lines with ">" that follow are headers
//	> Name: value      (with a colon) and the body
//	& METHOD path      a request whose answer is a stream that goes on
//	~ type             waits until that stream had an event of the type
//	~ end              waits for the end of that stream and shows all of it
//	@ gate             opens the owner's gate
//	% session          waits until the archive has the session's newest event
//
// and behind each request what came: "<" lines, which -update rewrites. $1, $2 …
// stand for the ids in the order in which they came up, TIME for times.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &player{w: newWorld(t), names: map[string]string{}, ids: map[string]string{}}
			got := p.play(string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: the conversation went otherwise (-update rewrites it). First difference:\n%s", file, firstDiff(string(want), got))
			}
		})
	}
}

func firstDiff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

// player plays one transcript.
type player struct {
	w     *world
	out   strings.Builder
	names map[string]string // real id -> $n
	ids   map[string]string // $n -> real id

	stream *bufio.Reader
	seen   []string
}

func (p *player) play(script string) string {
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "<":
			continue
		case ">", "&":
			method, path, _ := strings.Cut(rest, " ")
			fmt.Fprintln(&p.out, line)
			var header, body []string
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "> ") {
				next := strings.TrimPrefix(lines[i+1], "> ")
				if m := headerLine.FindStringSubmatch(next); m != nil {
					header = append(header, m[1], m[2])
				} else if methodLine.MatchString(next) {
					break
				} else {
					body = append(body, next)
				}
				fmt.Fprintln(&p.out, lines[i+1])
				i++
			}
			p.request(kind == "&", method, p.real(path), p.real(strings.Join(body, "\n")), header)
		case "~":
			fmt.Fprintln(&p.out, line)
			p.await(rest)
		case "@":
			fmt.Fprintln(&p.out, line)
			p.w.owner.gate <- struct{}{}
		case "%":
			fmt.Fprintln(&p.out, line)
			p.w.archived(p.real(rest))
		default:
			fmt.Fprintln(&p.out, line)
		}
	}
	return p.out.String()
}

var (
	headerLine = regexp.MustCompile(`^([A-Z][A-Za-z-]+): (.*)$`)
	methodLine = regexp.MustCompile(`^(GET|POST|PUT|DELETE) /`)
	idPattern  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timeText   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	hashText   = regexp.MustCompile(`"hash":"[0-9a-f]{24}"`)
	cursorText = regexp.MustCompile(`"next":"[\w-]+"`)
	requestID  = regexp.MustCompile(`"request_id":"[^"]*"`)
)

// real puts real ids for $1, $2 …
func (p *player) real(s string) string {
	return regexp.MustCompile(`\$\d+`).ReplaceAllStringFunc(s, func(n string) string {
		if id, ok := p.ids[n]; ok {
			return id
		}
		return n
	})
}

// plain is what is shown of an answer.
func (p *player) plain(s string) string {
	s = requestID.ReplaceAllString(s, `"request_id":"…"`)
	s = timeText.ReplaceAllString(s, "TIME")
	s = hashText.ReplaceAllString(s, `"hash":"…"`)
	s = cursorText.ReplaceAllString(s, `"next":"…"`)
	return idPattern.ReplaceAllStringFunc(s, func(id string) string {
		n, ok := p.names[id]
		if !ok {
			n = fmt.Sprintf("$%d", len(p.names)+1)
			p.names[id], p.ids[n] = n, id
		}
		return n
	})
}

// show writes lines of an answer, none of them too long to read.
func (p *player) show(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if len(line) > 1500 {
			line = fmt.Sprintf("%s … %s (%d bytes)", line[:200], line[len(line)-100:], len(line))
		}
		fmt.Fprintln(&p.out, strings.TrimRight("< "+p.plain(line), " "))
	}
}

func (p *player) request(stream bool, method, path, body string, header []string) {
	p.w.t.Helper()
	resp := p.w.open(p.w.t.Context(), method, path, body, header...)
	fmt.Fprintf(&p.out, "< %d %s\n", resp.StatusCode, resp.Header.Get("Content-Type"))
	for _, h := range []string{"Retry-After", "Allow", "WWW-Authenticate", "Holdfast-Next"} {
		if v := resp.Header.Get(h); v != "" {
			fmt.Fprintf(&p.out, "< %s: %s\n", h, v)
		}
	}
	if stream && resp.StatusCode == http.StatusOK {
		p.stream, p.seen = bufio.NewReader(resp.Body), nil
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.w.t.Fatalf("%s %s: %v", method, path, err)
	}
	p.show(dropBeats(string(b)))
}

// await reads the open stream until an event of the type, or its end.
func (p *player) await(what string) {
	p.w.t.Helper()
	for {
		line, err := p.stream.ReadString('\n')
		if err == io.EOF && what == "end" {
			p.show(dropBeats(strings.Join(p.seen, "")))
			return
		}
		if err != nil {
			p.w.t.Fatalf("the stream ended before %q: %v\n%s", what, err, strings.Join(p.seen, ""))
		}
		p.seen = append(p.seen, line)
		if strings.Contains(line, `"type":"`+what+`"`) {
			return
		}
	}
}

func dropBeats(s string) string { return strings.ReplaceAll(s, ": alive\n\n", "") }
