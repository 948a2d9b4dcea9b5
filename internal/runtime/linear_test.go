package runtime_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// put is a command as its caller sees it: an id (an Idempotency-Key), what it
// asks for, and the answer.
type put struct {
	id, text string
}

// settled is the sequential model of one id: the first command takes effect, the
// same again has the same answer, another body under the id is refused.
type settled struct {
	text string
	seq  uint64
}

func commandModel() porcupine.Model {
	return porcupine.Model{
		// Commands of different ids meet only in the order of their seqs, which
		// inOrder checks: what is left for each id is a register that is set once.
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byID := map[string][]porcupine.Operation{}
			for _, op := range history {
				id := op.Input.(put).id
				byID[id] = append(byID[id], op)
			}
			return slices.Collect(maps.Values(byID))
		},
		Init: func() any { return settled{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(settled), input.(put), output.(events.Answer)
			switch {
			case s.seq == 0:
				return out.Code == "" && out.Seq > 0, settled{text: in.text, seq: out.Seq}
			case s.text == in.text:
				return out.Code == "" && out.Seq == s.seq, s
			}
			return out.Code == holdfast.CodeKeyReused, s
		},
	}
}

// inOrder checks real time across ids: a command that took effect before another
// one was sent has the smaller seq.
func inOrder(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	type span struct{ sent, known int64 }
	effects := map[uint64]span{}
	for _, op := range history {
		if out := op.Output.(events.Answer); out.Code == "" {
			s, ok := effects[out.Seq]
			if !ok {
				s = span{op.Call, op.Return}
			}
			effects[out.Seq] = span{min(s.sent, op.Call), min(s.known, op.Return)}
		}
	}
	for a, x := range effects {
		for b, y := range effects {
			if x.known < y.sent && a > b {
				t.Errorf("the command of seq %d was answered before that of seq %d was sent", a, b)
			}
		}
	}
}

// TestCommandsAreLinearizable: 64 callers send commands to one session, with ids
// that repeat, while its owner is killed twice. Every answer fits one order of
// the commands that real time allows.
func TestCommandsAreLinearizable(t *testing.T) {
	w := newWorld(t, `
version: "2"
agents:
  root: {model: m, description: d, instruction: i}
models:
  m: {provider: scripted, model: m, provider_opts: {script: {title: T, turns: [{say: ok}]}}}
`)
	s := ref("linear")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.start(40, false) // both die under way
	w.start(60, true)
	w.start(-1, false)

	const callers, each, ids = 64, 3, 60
	var mu sync.Mutex
	var history []porcupine.Operation
	start := time.Now()
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(caller)))
			for range each {
				in := put{id: fmt.Sprintf("id-%d", rnd.IntN(ids)), text: fmt.Sprintf("text %d", rnd.IntN(20)/19)}
				c, err := events.NewCommand(s, events.KindRun, in.id, events.RunBody{
					Run: holdfast.DeriveID("run", in.id), Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: in.text}},
				})
				if err != nil {
					t.Error(err)
					return
				}
				call := time.Since(start)
				var a events.Answer
				for done := false; !done; { // a caller that hears nothing asks again
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					a, err = w.bus.Request(ctx, c)
					cancel()
					done = err == nil || t.Context().Err() != nil
				}
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: caller, Input: in, Call: int64(call), Output: a, Return: int64(time.Since(start)),
				})
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if result := porcupine.CheckOperationsTimeout(commandModel(), history, 30*time.Second); result != porcupine.Ok {
		t.Errorf("%d commands: %v", len(history), result)
	}
	inOrder(t, history)
	w.waitParked(s, events.WaitingIdle)
	verify(t, s, w.events(s))
	// The messages entered the conversation in the order of acceptance.
	st := w.state(s)
	var accepted int
	for _, c := range st.Commands {
		if c.Code == "" {
			accepted++
		}
	}
	if st.Said.Count != accepted {
		t.Errorf("%d messages for %d accepted commands", st.Said.Count, accepted)
	}
}
