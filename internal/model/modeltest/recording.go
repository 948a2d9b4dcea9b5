package modeltest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// Recording is a conversation with a provider and what must come of it.
//
// The file is a txtar archive. Its comment says where the format comes from, in
// a line that begins with "Source:". Then come the exchanges, in order:
//
//	-- 1/request --
//	POST /v1/chat/completions
//	Authorization: Bearer sk-canary-0123456789abcdef
//
//	{"model": …}
//	-- 1/response --
//	HTTP/1.1 200 OK
//	Content-Type: text/event-stream
//
//	data: {…}
//
// A request has a method and a path with query, headers that must be there with
// that value (or absent, if no value is given), and a JSON body that must be
// equal, but for the order of members and white space. A file without N/request
// wants the bytes of the first one again. A response is written as it stands and
// flushed at every blank line. In its headers {{date 7s}} is the HTTP date in
// seven seconds. In its body these lines are not sent:
//
//	#! wait 3s     pause
//	#! cut         close the connection without an end
//	#! join        the end of the line before is not sent
//	#! stall       send nothing more until the client goes away
//	#! pieces 3    send what follows in pieces of three bytes
//	#! base64      what follows is base64 (binary formats)
//	#! repeat 9 x  send x nine times (lines that are too long)
//
// The section want is [Want] as JSON.
type Recording struct {
	Exchanges []Exchange
	Want      Want
}

// Exchange is one request and the answer to it.
type Exchange struct {
	Method, Path string
	Header       http.Header // a nil value: must be absent
	Body         []byte      // nil: as in the first exchange

	Status         int
	ResponseHeader http.Header
	Response       []byte
}

// Want is what must come of a recording.
type Want struct {
	Text      string `json:"text"`
	Reasoning string `json:"reasoning"`
	Refusal   bool   `json:"refusal"`
	// ToolCalls in order; an id "*" is any.
	ToolCalls []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"tool_calls"`
	Finish string       `json:"finish"`
	Usage  *model.Usage `json:"usage"`
	Model  string       `json:"model"`
	// Opaque is compared as JSON.
	Opaque json.RawMessage `json:"opaque"`
	Error  *struct {
		Code holdfast.Code `json:"code"`
		// Says are parts of the public message, Hides must not be in it.
		Says  []string `json:"says"`
		Hides []string `json:"hides"`
	} `json:"error"`
	// Waits is the least time that the call takes, and it takes at most a tenth
	// and two seconds more. "": no time at all, or the pauses of the back-off.
	Waits string `json:"waits"`

	exchanges int
}

// Load reads a recording.
func Load(fsys fs.FS, name string) (*Recording, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	ar := txtar.Parse(data)
	if !strings.Contains("\n"+string(ar.Comment), "\nSource: ") {
		return nil, fmt.Errorf("%s: the comment has no line that begins with %q", name, "Source:")
	}
	rec := &Recording{}
	for _, f := range ar.Files {
		switch {
		case f.Name == "want":
			dec := json.NewDecoder(bytes.NewReader(f.Data))
			dec.DisallowUnknownFields()
			err = dec.Decode(&rec.Want)
		default:
			err = rec.read(f.Name, f.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, f.Name, err)
		}
	}
	for i := range rec.Exchanges {
		e := &rec.Exchanges[i]
		if e.Status == 0 || i == 0 && e.Method == "" {
			return nil, fmt.Errorf("%s: exchange %d is incomplete", name, i+1)
		}
	}
	rec.Want.exchanges = len(rec.Exchanges)
	return rec, nil
}

// read reads a section N/request or N/response.
func (r *Recording) read(section string, data []byte) error {
	number, kind, _ := strings.Cut(section, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(r.Exchanges)+1 {
		return fmt.Errorf("unknown section, or out of order")
	}
	if n > len(r.Exchanges) {
		r.Exchanges = append(r.Exchanges, Exchange{})
	}
	switch e := &r.Exchanges[n-1]; kind {
	case "request":
		return e.readRequest(data)
	case "response":
		return e.readResponse(data)
	}
	return fmt.Errorf("unknown section")
}

func (e *Exchange) readRequest(data []byte) error {
	first, rest, _ := strings.Cut(string(data), "\n")
	var ok bool
	if e.Method, e.Path, ok = strings.Cut(first, " "); !ok {
		return fmt.Errorf("the first line is not a method and a path")
	}
	header, body, _ := strings.Cut(rest, "\n\n")
	if strings.HasPrefix(rest, "\n") {
		header, body = "", rest[1:]
	}
	var err error
	if e.Header, err = readHeader(header); err != nil {
		return err
	}
	if body = strings.TrimSpace(body); body != "" {
		if !json.Valid([]byte(body)) {
			return fmt.Errorf("the body is not JSON")
		}
		e.Body = []byte(body)
	}
	return nil
}

func (e *Exchange) readResponse(data []byte) error {
	first, rest, _ := strings.Cut(string(data), "\n")
	if _, err := fmt.Sscanf(first, "HTTP/1.1 %d", &e.Status); err != nil {
		return fmt.Errorf("the first line is no status: %w", err)
	}
	header, body, _ := strings.Cut(rest, "\n\n")
	var err error
	if e.ResponseHeader, err = readHeader(header); err != nil {
		return err
	}
	e.Response = []byte(body)
	return nil
}

func readHeader(s string) (http.Header, error) {
	if s == "" {
		return http.Header{}, nil
	}
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(s + "\n\n"))).ReadMIMEHeader()
	return http.Header(h), err
}

// headerDate fills in {{date 7s}}.
func headerDate(v string) (string, error) {
	arg, ok := strings.CutPrefix(v, "{{date ")
	if !ok {
		return v, nil
	}
	d, err := time.ParseDuration(strings.TrimSuffix(arg, "}}"))
	if err != nil {
		return "", err
	}
	return time.Now().Add(d).UTC().Format(http.TimeFormat), nil
}

// play writes the response. It returns when it is written, or the client is
// gone.
func (e *Exchange) play(w http.ResponseWriter, r *http.Request) error {
	for k, vs := range e.ResponseHeader {
		for _, v := range vs {
			v, err := headerDate(v)
			if err != nil {
				return err
			}
			w.Header().Add(k, v)
		}
	}
	w.WriteHeader(e.Status)
	rc := http.NewResponseController(w)
	pieces := 0
	write := func(b []byte) {
		// A client that is gone is a matter of the case, not of the server.
		for len(b) > 0 {
			n := len(b)
			if pieces > 0 {
				n = min(n, pieces)
			}
			_, _ = w.Write(b[:n])
			b = b[n:]
			if pieces > 0 {
				_ = rc.Flush()
			}
		}
	}
	var binary strings.Builder
	inBinary := false
	end := "" // of the line before
	for line := range strings.Lines(string(e.Response)) {
		directive, ok := strings.CutPrefix(line, "#! ")
		if strings.TrimSpace(directive) == "join" && ok {
			end = ""
			continue
		}
		write([]byte(end))
		end = ""
		if !ok {
			if inBinary {
				binary.WriteString(strings.TrimSpace(line))
				continue
			}
			text := strings.TrimSuffix(line, "\n")
			write([]byte(text))
			end = line[len(text):]
			if strings.TrimSpace(text) == "" {
				write([]byte(end))
				end = ""
				_ = rc.Flush()
			}
			continue
		}
		f := strings.Fields(directive)
		switch {
		case f[0] == "cut":
			_ = rc.Flush()
			panic(http.ErrAbortHandler)
		case f[0] == "stall":
			_ = rc.Flush()
			<-r.Context().Done()
			return nil
		case f[0] == "base64":
			inBinary = true
		case f[0] == "wait" && len(f) == 2:
			d, err := time.ParseDuration(f[1])
			if err != nil {
				return err
			}
			_ = rc.Flush()
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return nil
			}
		case f[0] == "pieces" && len(f) == 2:
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return err
			}
			pieces = n
		case f[0] == "repeat" && len(f) == 3:
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return err
			}
			write(bytes.Repeat([]byte(f[2]), n))
		default:
			return fmt.Errorf("unknown directive %q", directive)
		}
	}
	write([]byte(end))
	if inBinary {
		b, err := base64.StdEncoding.DecodeString(binary.String())
		if err != nil {
			return err
		}
		write(b)
	}
	return nil
}

// checkRequest compares what came with what must come. first is the body of the
// first request.
func (e *Exchange) checkRequest(t *testing.T, n int, r *http.Request, body, first []byte) {
	t.Helper()
	if e.Method == "" {
		if !bytes.Equal(body, first) {
			t.Errorf("request %d differs from the first:\n%s\n%s", n, body, first)
		}
		return
	}
	if got := r.Method + " " + r.URL.RequestURI(); got != e.Method+" "+e.Path {
		t.Errorf("request %d is %s, want %s %s", n, got, e.Method, e.Path)
	}
	for k, want := range e.Header {
		if want[0] == "" {
			want = nil
		}
		if got := r.Header.Values(k); !slices.Equal(got, want) {
			t.Errorf("request %d: header %s is %q, want %q", n, k, got, want)
		}
	}
	if e.Body == nil {
		return
	}
	if diff := diffJSON(body, e.Body); diff != "" {
		t.Errorf("request %d: %s", n, diff)
	}
}
