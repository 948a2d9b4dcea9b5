package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// errRemote refuses references out of a schema: whoever writes a schema must not
// make the worker read files or fetch pages.
var errRemote = errors.New("references to other documents are not followed")

type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errRemote }

// maxMistakes is how many mistakes one error names.
const maxMistakes = 5

// compileSchema reads a JSON schema of any draft; without $schema it is 2020-12.
func compileSchema(schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	const name = "urn:holdfast:schema"
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("the schema cannot be used: %w", err)
	}
	s, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("the schema cannot be used: %w", err)
	}
	return s, nil
}

// CheckSchema returns why a JSON schema cannot be used, nil if it can.
func CheckSchema(schema json.RawMessage) error {
	_, err := compileSchema(schema)
	return err
}

// Validate returns nil if content is JSON that fits the schema. Otherwise the
// error says where it does not, for example "at /age: got string, want integer"; it
// quotes no more than the library does and is fit for the author of the content.
func Validate(schema, content json.RawMessage) error {
	s, err := compileSchema(schema)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	err = s.Validate(doc)
	var bad *jsonschema.ValidationError
	if !errors.As(err, &bad) {
		return err
	}
	var found []string
	for _, u := range bad.BasicOutput().Errors {
		if u.Error == nil {
			continue
		}
		place := u.InstanceLocation
		if place == "" {
			place = "the top"
		}
		found = append(found, "at "+place+": "+u.Error.String())
	}
	if len(found) > maxMistakes {
		found = append(found[:maxMistakes], fmt.Sprintf("and %d more", len(found)-maxMistakes))
	}
	return errors.New(strings.Join(found, "; "))
}
