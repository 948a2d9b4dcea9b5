package catalogue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// maxFile is how much of a file is read. The whole of models.dev has about two
// megabytes.
const maxFile = 64 << 20

// document is the part of https://models.dev/api.json that is read: providers by
// their ids, models by theirs. Prices are in US dollars for a million tokens.
type document map[string]struct {
	Models map[string]struct {
		Cost *struct {
			rates
			// Above200k are the prices of calls with more than 200,000 tokens of input.
			Above200k *rates `json:"context_over_200k"`
		} `json:"cost"`
		Limit struct {
			Context int64 `json:"context"`
			Output  int64 `json:"output"`
		} `json:"limit"`
		Modalities struct {
			Input []string `json:"input"`
		} `json:"modalities"`
	} `json:"models"`
}

// Load returns the catalogue that comes with the program with the models of a
// file put over it. The file has the shape of https://models.dev/api.json; what
// it says of a model replaces what the program says, all of it. The version of
// its prices is made of its content, so that two deployments with the same file
// name the same version.
func Load(path string) (*Catalogue, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue of models: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the catalogue of models %s: %w", path, err)
	case len(src) > maxFile:
		return nil, fmt.Errorf("the catalogue of models %s has more than %d MiB", path, maxFile>>20)
	}
	c, err := overlay(Default(), src, "file "+path)
	if err != nil {
		return nil, fmt.Errorf("the catalogue of models %s: %w", path, err)
	}
	return c, nil
}

func overlay(base *Catalogue, src []byte, source string) (*Catalogue, error) {
	var doc document
	if err := json.Unmarshal(src, &doc); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(src)
	version := "file-" + hex.EncodeToString(sum[:6])
	over := &Catalogue{rows: map[key]*row{}, now: base.now}
	n := 0
	for _, provider := range slices.Sorted(maps.Keys(doc)) {
		models := doc[provider].Models
		for _, id := range slices.Sorted(maps.Keys(models)) {
			m := models[id]
			r := &row{Provider: provider, ID: id, Context: m.Limit.Context, Output: m.Limit.Output, Sources: []string{source}, version: version, modalities: m.Modalities.Input}
			if m.Cost != nil {
				p := period{rates: m.Cost.rates}
				if t := m.Cost.Above200k; t != nil {
					p.Above = append(p.Above, struct {
						Tokens int64 `json:"tokens"`
						rates
					}{200_000, *t})
				}
				r.Prices = []period{p}
			}
			if err := r.check(); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", provider, id, err)
			}
			n++
			if _, twice := over.rows[key{provider, strings.ToLower(id)}]; twice {
				continue // names that differ in their capitals alone mean one model
			}
			if err := over.add(r); err != nil {
				return nil, err
			}
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("there are no models in it: it must map providers to models, as https://models.dev/api.json does")
	}
	rows := maps.Clone(base.rows)
	maps.Copy(rows, over.rows)
	return &Catalogue{rows: rows, now: base.now}, nil
}
