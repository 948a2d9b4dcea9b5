// Package catalogue knows the limits and prices of models.
//
// It comes with a small table of its own (models.json), in which each row names
// where its facts are from. An operator can put a file over it that has the shape
// of https://models.dev/api.json: [Load]. What is not known is 0 or absent, never
// guessed: a model that the table does not have is not found, however much its
// name looks like one that it has, but for dates, versions and regions at the
// edges of a name that mean the same model.
//
// A [Catalogue] does not change and is safe for concurrent use.
package catalogue

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/model"
)

// Price is what a million tokens cost in US dollars. Where a provider has no
// price of its own for what is read from or written to its cache, it is Input.
type Price struct {
	Input, Output, CacheRead, CacheWrite float64
}

// Tier is the price of calls whose whole input is longer than a number of tokens.
type Tier struct {
	Above int64 // tokens, those of the cache included
	Price Price
}

// Info is what is known of a model.
type Info struct {
	Provider, Model string // as the table spells them
	// ContextLimit and OutputLimit are in tokens, 0 where they are not known.
	ContextLimit int64
	OutputLimit  int64
	// Price is nil where it is not known.
	Price *Price
	Tiers []Tier // by Above, from low to high
	// PriceVersion names the list that Price is from, "" without one.
	PriceVersion string
	// Images says that the model takes images, those in answers of tools included;
	// false where that is not known.
	Images bool
	// Sources say where the facts are from.
	Sources []string
}

// Priced reports whether Cost knows what a call costs.
func (i Info) Priced() bool { return i.Price != nil }

// Cost is the price of one call in US dollars, 0 where it is not known. Writing
// to a cache is counted at the price of its shortest lifetime, since usage does
// not tell the lifetime.
func Cost(i Info, u model.Usage) float64 {
	if i.Price == nil {
		return 0
	}
	p := i.Price
	for t := range i.Tiers {
		if u.InputTokens > i.Tiers[t].Above {
			p = &i.Tiers[t].Price
		}
	}
	// Input includes both; a provider that counts otherwise must not earn us money.
	fresh := max(0, u.InputTokens-u.CachedInputTokens-u.CacheWriteTokens)
	return (float64(fresh)*p.Input + float64(u.CachedInputTokens)*p.CacheRead +
		float64(u.CacheWriteTokens)*p.CacheWrite + float64(u.OutputTokens)*p.Output) / 1e6
}

// Catalogue is a table of models.
type Catalogue struct {
	rows map[key]*row
	now  func() time.Time
}

type key struct{ provider, model string }

// row is a model in the table.
type row struct {
	Provider string   `json:"provider"`
	ID       string   `json:"id"`
	Aliases  []string `json:"aliases"`
	Context  int64    `json:"context"`
	Output   int64    `json:"output"`
	Prices   []period `json:"prices"` // by From
	Sources  []string `json:"sources"`

	version string
	// modalities are the kinds of input that a file names, nil for none.
	modalities []string
}

// period is a price from a day on.
type period struct {
	From string `json:"from"` // YYYY-MM-DD in UTC, "" for the first
	rates
	Above []struct {
		Tokens int64 `json:"tokens"`
		rates
	} `json:"above"`
}

type rates struct {
	Input      float64  `json:"input"`
	Output     float64  `json:"output"`
	CacheRead  *float64 `json:"cache_read"`
	CacheWrite *float64 `json:"cache_write"`
}

// price checks the rates and fills in what they leave out.
func (r *rates) price() (Price, error) {
	p := Price{Input: r.Input, Output: r.Output, CacheRead: r.Input, CacheWrite: r.Input}
	if r.CacheRead != nil {
		p.CacheRead = *r.CacheRead
	}
	if r.CacheWrite != nil {
		p.CacheWrite = *r.CacheWrite
	}
	for _, v := range []float64{p.Input, p.Output, p.CacheRead, p.CacheWrite} {
		if v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
			return Price{}, fmt.Errorf("%v is no price", v)
		}
	}
	return p, nil
}

//go:embed models.json
var table []byte

// Default returns the catalogue that comes with the program.
var Default = sync.OnceValue(func() *Catalogue {
	c, err := parse(table)
	if err != nil {
		panic("catalogue: the embedded table: " + err.Error()) // a test reads it before anybody else
	}
	return c
})

// Lookup asks the catalogue that comes with the program.
func Lookup(provider, model string) (Info, bool) { return Default().Lookup(provider, model) }

func parse(src []byte) (*Catalogue, error) {
	var t struct {
		Version string            `json:"version"`
		Sources map[string]string `json:"sources"`
		Models  []*row            `json:"models"`
	}
	dec := json.NewDecoder(strings.NewReader(string(src)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return nil, err
	}
	c := &Catalogue{rows: make(map[key]*row, 2*len(t.Models)), now: time.Now}
	for _, r := range t.Models {
		r.version = t.Version
		if len(r.Sources) == 0 {
			return nil, fmt.Errorf("%s/%s names no source", r.Provider, r.ID)
		}
		for i, s := range r.Sources {
			if r.Sources[i] = t.Sources[s]; r.Sources[i] == "" {
				return nil, fmt.Errorf("%s/%s names the source %q, which the table does not have", r.Provider, r.ID, s)
			}
		}
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", r.Provider, r.ID, err)
		}
		if err := c.add(r); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (r *row) check() error {
	if r.Provider == "" || r.ID == "" || r.Context < 0 || r.Output < 0 {
		return fmt.Errorf("a provider, an id and limits that are not negative are needed")
	}
	for i := range r.Prices {
		p := &r.Prices[i]
		if _, err := p.price(); err != nil {
			return err
		}
		if p.From != "" {
			if _, err := time.Parse(time.DateOnly, p.From); err != nil {
				return err
			}
		}
		if i > 0 && p.From <= r.Prices[i-1].From {
			return fmt.Errorf("prices are not in order of their days")
		}
		for j := range p.Above {
			if _, err := p.Above[j].price(); err != nil {
				return err
			}
			if j > 0 && p.Above[j].Tokens <= p.Above[j-1].Tokens {
				return fmt.Errorf("prices are not in order of the tokens above which they hold")
			}
		}
	}
	return nil
}

// add enters a row under its names. A name that another row has is an error; the
// short form of a name gives way to a row that has it as its name.
func (c *Catalogue) add(r *row) error {
	names := append([]string{r.ID}, r.Aliases...)
	for _, n := range names {
		k := key{r.Provider, strings.ToLower(n)}
		if other, ok := c.rows[k]; ok && slices.ContainsFunc(append([]string{other.ID}, other.Aliases...), func(s string) bool { return strings.EqualFold(s, n) }) {
			return fmt.Errorf("%s/%s is in the table twice", r.Provider, n)
		}
		c.rows[k] = r
	}
	for _, n := range names {
		k := key{r.Provider, short(r.Provider, n)}
		if _, ok := c.rows[k]; !ok {
			c.rows[k] = r
		}
	}
	return nil
}

var (
	dateAtEnd    = regexp.MustCompile(`(?:-\d{8}|@\d{8}|-20\d\d-\d\d-\d\d)$`)
	bedrockAtEnd = regexp.MustCompile(`-v\d+(?::\d+)?$`)
	// Profiles for a part of the world cost what the model costs there; the global
	// one is in the table under its own name.
	bedrockRegion = regexp.MustCompile(`^(?:us|eu|apac|jp|au|in|ca|us-gov)\.`)
)

// short is a name without what does not tell models apart: the day of a version,
// Bedrock's versions, regions and addresses, Google's folder.
func short(provider, name string) string {
	name = strings.ToLower(name)
	switch provider {
	case "amazon-bedrock":
		if strings.HasPrefix(name, "arn:") {
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		name = bedrockRegion.ReplaceAllString(name, "")
		name = bedrockAtEnd.ReplaceAllString(name, "")
	case "google":
		name = strings.TrimPrefix(name, "models/")
	case "anthropic":
		name = strings.TrimSuffix(name, "-latest")
	}
	return dateAtEnd.ReplaceAllString(name, "")
}

// Lookup returns what is known of a model. provider is as in agent files:
// "openai", "anthropic", "google", "amazon-bedrock", …
func (c *Catalogue) Lookup(provider, model string) (Info, bool) {
	r, ok := c.rows[key{provider, strings.ToLower(model)}]
	if !ok {
		r, ok = c.rows[key{provider, short(provider, model)}]
	}
	if !ok {
		return Info{}, false
	}
	i := Info{Provider: r.Provider, Model: r.ID, ContextLimit: r.Context, OutputLimit: r.Output, Images: r.images(), Sources: r.Sources}
	today := c.now().UTC().Format(time.DateOnly)
	for n := len(r.Prices) - 1; n >= 0; n-- {
		p := &r.Prices[n]
		if p.From > today {
			continue
		}
		// Checked when the row was read.
		price, _ := p.price()
		i.Price, i.PriceVersion = &price, r.version
		for t := range p.Above {
			price, _ := p.Above[t].price()
			i.Tiers = append(i.Tiers, Tier{Above: p.Above[t].Tokens, Price: price})
		}
		break
	}
	return i, true
}
