package openai

import (
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// TestConcurrentCalls: one model serves many sessions at a time.
func TestConcurrentCalls(t *testing.T) {
	for api, folder := range map[string]string{"chat_completions": "chat", "responses": "responses"} {
		file := "testdata/" + folder + "/parallel-tools.txtar"
		m := local(t, api, answering(modeltest.Streams(t, file)[file]))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					var a modeltest.Answer
					if err := m.Stream(t.Context(), modeltest.Weather("?"), a.Add); err != nil || len(a.ToolCalls) != 3 {
						t.Errorf("%s: %+v, %v", api, a, err)
					}
				}
			})
		}
		wg.Wait()
	}
}
