package bedrock_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// TestDamagedFrames: a message with any byte changed, or cut off anywhere, is no
// answer and no panic.
func TestDamagedFrames(t *testing.T) {
	text := []byte("event: contentBlockDelta\ndata: {\"contentBlockIndex\":0,\"delta\":{\"text\":\"Hi\"}}\n\nevent: messageStop\ndata: {\"stopReason\":\"end_turn\"}\n\n")
	res, err := answering(text).Get("http://x.test/")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(body []byte) (modeltest.Answer, error) {
		var a modeltest.Answer
		err := local(t, &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusOK, Request: r, ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Content-Type": {"application/vnd.amazon.eventstream"}}, Body: io.NopCloser(bytes.NewReader(body)),
			}, nil
		})}).Stream(t.Context(), modeltest.Hello(), a.Add)
		return a, err
	}
	if a, err := ask(whole); err != nil || a.Text != "Hi" || a.Finish != "stop" {
		t.Fatalf("whole: %+v, %v", a, err)
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x41
		if a, err := ask(damaged); holdfast.CodeOf(err) != holdfast.CodeModelFailed {
			t.Errorf("with byte %d changed: %+v, %v", i, a, err)
		}
		if a, err := ask(whole[:i]); holdfast.CodeOf(err) != holdfast.CodeModelFailed {
			t.Errorf("cut off at %d: %+v, %v", i, a, err)
		}
	}
}
