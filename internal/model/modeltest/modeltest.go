// Package modeltest is the suite that every adapter of a model provider passes.
//
// It replays recordings in the provider's own wire format: for each case there
// is a file that says which requests must come, to the byte of their JSON
// values, which bytes are answered, and what the adapter must make of them. A
// new provider writes its recordings, not tests:
//
//	func TestSuite(t *testing.T) {
//		modeltest.Run(t, modeltest.Provider{
//			Recordings: os.DirFS("testdata/chat"),
//			Config:     model.Config{Provider: "openai", Model: "gpt-4o"},
//			New: func(cfg model.Config, c *http.Client) (model.Model, error) {
//				return openai.New(cfg, openai.Options{HTTPClient: c})
//			},
//		})
//	}
//
// What the caller asks in each case is fixed here (see [Cases]), so that all
// providers are asked the same. A case that a provider's API has no notion of is
// named in [Provider.Lacks] with the reason; a recording that does not show what
// its case is about is refused.
//
// Everything runs in a testing/synctest bubble over a network in memory: the
// adapter's real HTTP code against a real HTTP server, minutes of back-off in no
// time, and waits that can be compared exactly.
//
// [Recording] describes the format of the files.
package modeltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// Key is the API key of every case. It must appear in no error.
const Key = "sk-canary-0123456789abcdef"

// IdleTimeout is Config.IdleTimeout of every case; recordings that stall or wait
// are written against it.
const IdleTimeout = 30 * time.Second

// Provider is an adapter and what the suite must know of it.
type Provider struct {
	// Recordings holds a file CASE.txtar for each case.
	Recordings fs.FS
	// Config is the configuration that cases start from: provider and model, and
	// provider options that all calls need.
	Config model.Config
	// New makes the model. cfg has BaseURL and APIKey.
	New func(cfg model.Config, client *http.Client) (model.Model, error)
	// BasePath is the path of BaseURL, "/v1" for example.
	BasePath string
	// Lacks names the cases that the provider's API has no notion of, and why.
	Lacks map[string]string
	// Opaque, if the provider has it, is what an earlier answer asked to get back;
	// the case "history" sends it.
	Opaque json.RawMessage
}

// Case is one thing that adapters must get right.
type Case struct {
	Name string
	// Configure changes the provider's configuration.
	Configure func(*model.Config)
	// Request is what is asked. nil: Hello.
	Request func(p *Provider) model.Request
	// Shows tells what is missing in a recording that does not show the case.
	Shows func(w *Want) error
	// run replaces the ordinary run.
	run func(t *testing.T, p *Provider, c *Case, rec *Recording)
}

// Run runs all cases, and checks which failures are asked again.
func Run(t *testing.T, p Provider) {
	known := map[string]bool{}
	for i := range Cases {
		c := &Cases[i]
		known[c.Name] = true
		if reason, ok := p.Lacks[c.Name]; ok {
			if len(reason) < 10 {
				t.Errorf("case %s: say why the provider lacks it", c.Name)
			}
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			rec, err := Load(p.Recordings, c.Name+".txtar")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Shows(&rec.Want); err != nil {
				t.Fatalf("the recording does not show the case: %v", err)
			}
			if c.run != nil {
				c.run(t, &p, c, rec)
				return
			}
			replay(t, &p, c, rec)
		})
	}
	t.Run("retries", func(t *testing.T) { retries(t, &p) })
	for name := range p.Lacks {
		if !known[name] {
			t.Errorf("Lacks names %q, which is no case", name)
		}
	}
	files, err := fs.Glob(p.Recordings, "*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(f, ".txtar"); !known[name] || p.Lacks[name] != "" {
			t.Errorf("%s belongs to no case that is run", f)
		}
	}
}

// Replay runs a recording of a provider's own, outside of the cases: a quirk of
// one server, for example.
func Replay(t *testing.T, p Provider, file string, cfg func(*model.Config), req model.Request) {
	t.Helper()
	rec, err := Load(p.Recordings, file)
	if err != nil {
		t.Fatal(err)
	}
	replay(t, &p, &Case{
		Name: file, Configure: cfg,
		Request: func(*Provider) model.Request { return req },
	}, rec)
}

// Answer is what a call handed out, put together.
type Answer struct {
	Text      string
	Reasoning string
	Refusal   bool
	ToolCalls []holdfast.ToolCall
	Finish    string
	Usage     *model.Usage
	Model     string
	Opaque    json.RawMessage
	Chunks    int
}

// Add puts a chunk to the answer and checks what every chunk must keep.
func (a *Answer) Add(c model.Chunk) error {
	a.Chunks++
	a.Text += c.Text
	a.Reasoning += c.Reasoning
	a.Refusal = a.Refusal || c.Refusal
	for _, d := range c.ToolCalls {
		if d.ID == "" {
			return fmt.Errorf("a tool call without an id: %+v", d)
		}
		i := slices.IndexFunc(a.ToolCalls, func(have holdfast.ToolCall) bool { return have.ID == d.ID })
		switch {
		case i >= 0:
			if d.Function.Name != "" {
				return fmt.Errorf("a name in a later delta: %+v", d)
			}
			a.ToolCalls[i].Function.Arguments += d.Function.Arguments
		case d.Function.Name == "" || d.Type != "function":
			return fmt.Errorf("the first delta of a call without name or type: %+v", d)
		default:
			a.ToolCalls = append(a.ToolCalls, d)
		}
	}
	if c.FinishReason != "" {
		if a.Finish != "" {
			return fmt.Errorf("a second finish reason: %q after %q", c.FinishReason, a.Finish)
		}
		a.Finish = c.FinishReason
	}
	if c.Usage != nil {
		if a.Usage != nil {
			return errors.New("usage twice")
		}
		a.Usage = c.Usage
	}
	if c.Model != "" {
		a.Model = c.Model
	}
	if c.Opaque != nil {
		a.Opaque = c.Opaque
	}
	if c.Text == "" && c.Reasoning == "" && len(c.ToolCalls) == 0 && c.FinishReason == "" && c.Usage == nil && c.Opaque == nil {
		return errors.New("an empty chunk")
	}
	return nil
}

// model makes the model of a case.
func (p *Provider) model(t *testing.T, c *Case, n *network) model.Model {
	cfg := p.Config
	cfg.BaseURL = "http://provider.test" + p.BasePath
	cfg.APIKey = Key
	cfg.IdleTimeout = IdleTimeout
	if c.Configure != nil {
		c.Configure(&cfg)
	}
	m, err := p.New(cfg, n.client())
	if err != nil {
		t.Fatal(err)
	}
	if want := cfg.Provider + "/" + cfg.Model; m.Name() != want {
		t.Errorf("name is %q, want %q", m.Name(), want)
	}
	return m
}

func (c *Case) request(p *Provider) model.Request {
	if c.Request == nil {
		return Hello()
	}
	return c.Request(p)
}

func replay(t *testing.T, p *Provider, c *Case, rec *Recording) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, rec)
		m := p.model(t, c, n)
		start := time.Now()
		var a Answer
		err := m.Stream(t.Context(), c.request(p), a.Add)
		rec.Want.check(t, &a, err, time.Since(start))
		n.check(t)
	})
}
