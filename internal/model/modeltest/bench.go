package modeltest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// Deltas is how many pieces of text an answer of the benchmarks has.
const Deltas = 1000

// Pieces composes the middle of an answer: Deltas pieces of text, each by format,
// which has one verb, for the number of the piece.
func Pieces(format string) string {
	var b strings.Builder
	for i := range Deltas {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// BenchHistory is the conversation that a turn of the benchmarks continues: a
// thousand messages, a quarter of them calls of tools, a quarter their answers.
func BenchHistory() []holdfast.Message {
	out := []holdfast.Message{message(holdfast.RoleSystem, "You are terse.")}
	for i := range 250 {
		id := fmt.Sprintf("call_%d", i)
		call := message(holdfast.RoleAssistant, "Let me look.")
		call.ToolCalls = []holdfast.ToolCall{holdfast.NewToolCall(id, "get_weather", `{"city":"Oslo"}`)}
		answer := message(holdfast.RoleTool, "12 degrees and rain, with a fresh wind from the west")
		answer.ToolCallID = id
		out = append(out, message(holdfast.RoleUser, fmt.Sprintf("question %d of a conversation that has gone on for a while", i)), call, answer,
			message(holdfast.RoleAssistant, "It is 12 degrees, with rain and a fresh wind from the west."))
	}
	return append(out, message(holdfast.RoleUser, "And now?"))
}

// Bench compares what an adapter takes with what its provider's SDK takes for the
// same bytes, with nothing else around it.
type Bench struct {
	// ContentType of the answers; "" is [EventStream].
	ContentType string
	// Text is an answer of [Deltas] pieces of text; Call an answer with one call of
	// the tool get_weather.
	Text, Call []byte
	// Model is the adapter's.
	Model func(b *testing.B, c *http.Client) model.Model
	// SDKText returns a function that makes one call with an empty conversation and
	// returns the length of the answer's text.
	SDKText func(b *testing.B, c *http.Client) func() (int, error)
	// SDKTurn composes [BenchHistory] with [Tools] in the SDK's types and returns a
	// function that makes a turn as turn does, without changing what it goes out
	// from.
	SDKTurn func(b *testing.B, c *http.Client) func() error
}

func (x *Bench) client(answers ...[]byte) *http.Client {
	if x.ContentType == "" {
		return Answering(EventStream, answers...)
	}
	return Answering(x.ContentType, answers...)
}

// RunDeltas measures a call whose answer is text.
func (x *Bench) RunDeltas(b *testing.B) {
	perDelta := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Deltas, "ns/delta")
	}
	b.Run("holdfast", func(b *testing.B) {
		m := x.Model(b, x.client(x.Text))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			if err := m.Stream(b.Context(), model.Request{}, func(c model.Chunk) error { n += len(c.Text); return nil }); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
	b.Run("sdk", func(b *testing.B) {
		call := x.SDKText(b, x.client(x.Text))
		b.ReportAllocs()
		for b.Loop() {
			if n, err := call(); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
}

// RunTurn measures a whole turn with a tool at a history of a thousand messages:
// the request, an answer that calls the tool, the call read, the next request
// with the tool's answer, and the answer of [Deltas] pieces to that.
func (x *Bench) RunTurn(b *testing.B) {
	b.Run("holdfast", func(b *testing.B) {
		m := x.Model(b, x.client(x.Call, x.Text))
		messages := BenchHistory()
		messages = messages[:len(messages):len(messages)]
		b.ReportAllocs()
		for b.Loop() {
			if err := turn(b, m, messages); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		turn := x.SDKTurn(b, x.client(x.Call, x.Text))
		b.ReportAllocs()
		for b.Loop() {
			if err := turn(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func turn(b *testing.B, m model.Model, messages []holdfast.Message) error {
	said := message(holdfast.RoleAssistant, "")
	tools := Tools()
	var args strings.Builder
	err := m.Stream(b.Context(), model.Request{Messages: messages, Tools: tools}, func(c model.Chunk) error {
		said.Content += c.Text
		for _, call := range c.ToolCalls {
			if call.Function.Name != "" {
				said.ToolCalls = append(said.ToolCalls, call)
			}
			args.WriteString(call.Function.Arguments)
		}
		if c.Opaque != nil {
			said.Opaque, said.OpaqueProvider = c.Opaque, m.Name()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := IsBenchCall(len(said.ToolCalls), args.String()); err != nil {
		return err
	}
	said.ToolCalls[0].Function.Arguments = args.String()
	answer := message(holdfast.RoleTool, "9 degrees")
	answer.ToolCallID = said.ToolCalls[0].ID
	var text strings.Builder
	err = m.Stream(b.Context(), model.Request{Messages: append(messages, said, answer), Tools: tools}, func(c model.Chunk) error {
		text.WriteString(c.Text)
		return nil
	})
	if err == nil && text.Len() == 0 {
		err = fmt.Errorf("no text")
	}
	return err
}

// IsBenchCall checks that an answer has the one call that it should have.
func IsBenchCall(calls int, arguments string) error {
	if calls != 1 || strings.ReplaceAll(arguments, " ", "") != `{"city":"Oslo"}` {
		return fmt.Errorf("%d calls with %s", calls, arguments)
	}
	return nil
}
