package modeltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// What tests need that hold an adapter against its provider's SDK.

// Transport answers requests without a network.
type Transport func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// Answering is a client whose requests are read and get the given answers in
// turn, the first again after the last. It is safe for concurrent use.
func Answering(contentType string, answers ...[]byte) *http.Client {
	var asked atomic.Int64
	return &http.Client{Transport: Transport(func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
			if err := r.Body.Close(); err != nil {
				return nil, err
			}
		}
		body := answers[int(asked.Add(1)-1)%len(answers)]
		return &http.Response{
			StatusCode: http.StatusOK, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {contentType}},
			Body:   io.NopCloser(bytes.NewReader(body)),
		}, nil
	})}
}

// EventStream is the type of answers that are server-sent events.
const EventStream = "text/event-stream"

// Recordings are those of a pattern of [filepath.Glob], by the names of their
// files.
func Recordings(t testing.TB, pattern string) map[string]*Recording {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings at %s: %v", pattern, err)
	}
	out := map[string]*Recording{}
	for _, f := range files {
		rec, err := Load(os.DirFS(filepath.Dir(f)), filepath.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		out[f] = rec
	}
	return out
}

// Streams are the bodies of the last answers of recordings, as far as they are
// sent in one go.
func Streams(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, rec := range Recordings(t, pattern) {
		e := rec.Exchanges[len(rec.Exchanges)-1]
		if e.Status == http.StatusOK && !bytes.Contains(e.Response, []byte("#! ")) {
			out[name] = e.Response
		}
	}
	return out
}

// SameRequests reads the first body of each recording, which the suite has
// compared with ours, by again with the SDK's types and writes it again: what the
// types do not know, or take for something else, differs.
func SameRequests(t *testing.T, pattern string, atLeast int, again func(body []byte) ([]byte, error)) {
	t.Helper()
	n := 0
	for name, rec := range Recordings(t, pattern) {
		body := rec.Exchanges[0].Body
		written, err := again(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(body, &want), json.Unmarshal(written, &got)); err != nil {
			t.Fatal(err)
		}
		delete(want, "stream") // SDKs add it by themselves
		delete(got, "stream")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-ours +SDK)\n%s", name, d)
		}
		n++
	}
	if n < atLeast {
		t.Errorf("only %d bodies were compared", n)
	}
}

// Again reads a body into an SDK's type and writes it again.
func Again[T any](body []byte) ([]byte, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// FuzzStream feeds an adapter with anything: it answers with chunks that keep the
// promises, or with a coded error. An answer with the text lastWord in it may end
// without a reason; nil: none may.
func FuzzStream(f *testing.F, pattern string, lastWord []byte, local func(t testing.TB, stream []byte) model.Model) {
	for _, stream := range Streams(f, pattern) {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var a Answer
		err := local(t, stream).Stream(t.Context(), Hello(), a.Add)
		var coded *holdfast.Error
		if err != nil && !errors.As(err, &coded) {
			t.Fatalf("%v", err)
		}
		if err == nil && a.Finish == "" && (lastWord == nil || !bytes.Contains(stream, lastWord)) {
			t.Fatalf("complete without an end: %+v", a)
		}
	})
}
