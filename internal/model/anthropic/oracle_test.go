package anthropic

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client that gets the same event stream for every request.
func answering(stream []byte) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"text/event-stream"}},
			Body:   io.NopCloser(bytes.NewReader(stream)),
		}, nil
	})}
}

func local(t testing.TB, client *http.Client) *Model {
	t.Helper()
	m, err := New(model.Config{Provider: "anthropic", Model: "m", BaseURL: "http://x.test", MaxRetries: -1}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// recordings are all of them, by the names of their files.
func recordings(t testing.TB) map[string]*modeltest.Recording {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	out := map[string]*modeltest.Recording{}
	for _, f := range files {
		rec, err := modeltest.Load(os.DirFS(filepath.Dir(f)), filepath.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		out[f] = rec
	}
	return out
}

// streams are the event streams of the recordings, as far as they are sent in
// one go.
func streams(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, rec := range recordings(t) {
		e := rec.Exchanges[len(rec.Exchanges)-1]
		if e.Status == http.StatusOK && !bytes.Contains(e.Response, []byte("#! ")) {
			out[name] = e.Response
		}
	}
	return out
}

// TestStreamsAgainstSDK decodes every recorded stream here and by the SDK.
func TestStreamsAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range streams(t) {
		var got modeltest.Answer
		if err := local(t, answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue // what the SDK makes of broken streams is not the measure
		}
		svc := sdk.NewMessageService(option.WithBaseURL("http://x.test/"), option.WithHTTPClient(answering(stream)), option.WithoutOpenTelemetry())
		s := svc.NewStreaming(t.Context(), sdk.MessageNewParams{})
		var msg sdk.Message
		for s.Next() {
			if err := msg.Accumulate(s.Current()); err != nil {
				t.Errorf("%s: the SDK cannot put it together: %v", name, err)
			}
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
			continue
		}
		want := modeltest.Answer{Finish: finishReason(string(msg.StopReason)), Model: msg.Model, Chunks: got.Chunks}
		o := opaque{API: "messages"}
		thought := false
		for _, b := range msg.Content {
			kept := block{Type: b.Type}
			switch b := b.AsAny().(type) {
			case sdk.TextBlock:
				want.Text += b.Text
				kept.Bytes = len(b.Text)
			case sdk.ThinkingBlock:
				if want.Reasoning != "" {
					want.Reasoning += "\n\n"
				}
				want.Reasoning += b.Thinking
				kept.Thinking, kept.Signature, thought = b.Thinking, b.Signature, true
			case sdk.RedactedThinkingBlock:
				kept.Data, thought = b.Data, true
			case sdk.ToolUseBlock:
				want.ToolCalls = append(want.ToolCalls, holdfast.NewToolCall(b.ID, b.Name, string(b.Input)))
				kept.ID = b.ID
			}
			o.Blocks = append(o.Blocks, kept)
		}
		if e := msg.StopDetails.Explanation; e != "" {
			want.Text, want.Refusal = want.Text+e, true
		}
		if u := msg.Usage; u.InputTokens > 0 {
			want.Usage = &model.Usage{
				InputTokens:  u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens,
				OutputTokens: u.OutputTokens, CachedInputTokens: u.CacheReadInputTokens,
				CacheWriteTokens: u.CacheCreationInputTokens, ReasoningTokens: u.OutputTokensDetails.ThinkingTokens,
			}
		}
		if thought {
			var err error
			if want.Opaque, err = json.Marshal(o); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-SDK +ours)\n%s", name, d)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// TestRequestsAgainstSDK reads our bodies with the SDK's parameter types and
// writes them again: what the types do not know, or take for something else,
// differs.
func TestRequestsAgainstSDK(t *testing.T) {
	n := 0
	for name, rec := range recordings(t) {
		// The suite has compared the recorded body with ours.
		body := rec.Exchanges[0].Body
		var p sdk.MessageNewParams
		if err := json.Unmarshal(body, &p); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(body, &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		delete(want, "stream") // the SDK adds it by itself
		delete(got, "stream")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-ours +SDK)\n%s", name, d)
		}
		n++
	}
	if n < 40 {
		t.Errorf("only %d bodies were compared", n)
	}
}

// FuzzStream feeds the decoder with anything: it answers with chunks that keep
// the promises, or with a coded error.
func FuzzStream(f *testing.F) {
	for _, stream := range streams(f) {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var a modeltest.Answer
		err := local(t, answering(stream)).Stream(t.Context(), modeltest.Hello(), a.Add)
		var coded *holdfast.Error
		if err != nil && !errors.As(err, &coded) {
			t.Fatalf("%v", err)
		}
		if err == nil && a.Finish == "" {
			t.Fatalf("complete without an end: %+v", a)
		}
	})
}
