package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// form is a question that is asked field by field. Fields are the members of the
// question's schema, in its order; what the schema asks beyond that the server
// checks.
type form struct {
	id, message, url, server string
	fields                   []formField
	at                       int
	given                    []json.RawMessage // nil for one that was left out
	sent                     bool              // the answer is on its way
}

// formField is one member of the answer.
type formField struct {
	name, label, help string
	typ               string   // string, number, integer, boolean, choice, choices, json
	values            []string // of a choice, each as JSON
	labels            []string // of a choice, for people
	preset            json.RawMessage
	required          bool
	whole             bool // the field is the answer, not a member of it
}

// formSchema is what a form reads of a JSON schema.
type formSchema struct {
	Type        any               `json:"type"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Properties  json.RawMessage   `json:"properties"`
	Required    []string          `json:"required"`
	Enum        []json.RawMessage `json:"enum"`
	EnumNames   []string          `json:"enumNames"`
	OneOf       []struct {
		Const json.RawMessage `json:"const"`
		Title string          `json:"title"`
	} `json:"oneOf"`
	Items   *formSchema     `json:"items"`
	AnyOf   json.RawMessage `json:"anyOf"`
	Default json.RawMessage `json:"default"`
}

func newForm(id, message, url, server string, schema json.RawMessage) *form {
	f := &form{id: id, message: message, url: url, server: server}
	if url == "" {
		f.fields = formFields(schema)
	}
	f.given = make([]json.RawMessage, len(f.fields))
	return f
}

func formOf(ev *holdfast.ElicitationRequestEvent) *form {
	return newForm(ev.ID, ev.Message, ev.URL, ev.ServerURL, ev.Schema)
}

// formFields makes the fields of a schema. One that is no flat object is asked as
// JSON in one piece.
func formFields(schema json.RawMessage) []formField {
	whole := []formField{{name: "answer", label: "answer, as JSON", typ: "json", required: true, whole: true}}
	var s formSchema
	if json.Unmarshal(schema, &s) != nil || len(s.Properties) == 0 {
		return whole
	}
	names, err := memberNames(s.Properties)
	members := map[string]*formSchema{}
	if err != nil || len(names) == 0 || json.Unmarshal(s.Properties, &members) != nil {
		return whole
	}
	fields := make([]formField, len(names))
	for i, name := range names {
		fields[i] = newFormField(name, members[name], slices.Contains(s.Required, name))
	}
	return fields
}

func newFormField(name string, s *formSchema, required bool) formField {
	f := formField{name: name, label: name, typ: "json", required: required}
	if s == nil {
		return f
	}
	if s.Title != "" {
		f.label = s.Title
	}
	f.help, f.preset = s.Description, s.Default
	if string(f.preset) == "null" {
		f.preset = nil
	}
	if f.choices(s); len(f.values) > 0 {
		f.typ = "choice"
		return f
	}
	switch typ, _ := s.Type.(string); typ {
	case "string", "number", "integer", "boolean":
		f.typ = typ
	case "array":
		if s.Items != nil {
			if f.choices(s.Items); len(f.values) > 0 {
				f.typ = "choices"
			}
		}
	}
	return f
}

// choices notes the values that a schema leaves.
func (f *formField) choices(s *formSchema) {
	for i, v := range s.Enum {
		label := plain(v)
		if i < len(s.EnumNames) {
			label = s.EnumNames[i]
		}
		f.values, f.labels = append(f.values, string(v)), append(f.labels, label)
	}
	for _, o := range s.OneOf {
		if len(o.Const) == 0 {
			f.values, f.labels = nil, nil
			return
		}
		label := o.Title
		if label == "" {
			label = plain(o.Const)
		}
		f.values, f.labels = append(f.values, string(o.Const)), append(f.labels, label)
	}
}

// plain is a JSON value for people: a string without its quotes.
func plain(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// memberNames are the names of an object's members, in their order.
func memberNames(object json.RawMessage) (names []string, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errors.New("no name")
		}
		names = append(names, name)
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// done reports whether all fields were asked.
func (f *form) done() bool { return f.at >= len(f.fields) }

// again begins from the first field.
func (f *form) again() { f.at, f.sent, f.given = 0, false, make([]json.RawMessage, len(f.fields)) }

// ask is the line that asks for the current field.
func (f *form) ask() string {
	if f.url != "" {
		return "done there? [y]es, [n]o"
	}
	field := f.fields[f.at]
	var b strings.Builder
	b.WriteString(clean(field.label))
	if field.help != "" {
		b.WriteString(" (" + oneLine(field.help, 200) + ")")
	}
	switch field.typ {
	case "boolean":
		b.WriteString(" [y/n]")
	case "choice", "choices":
		parts := make([]string, len(field.labels))
		for i, l := range field.labels {
			parts[i] = strconv.Itoa(i+1) + " " + oneLine(l, 60)
		}
		b.WriteString(" [" + strings.Join(parts, ", ") + "]")
		if field.typ == "choices" {
			b.WriteString(" (several with commas)")
		}
	case "number", "integer":
		b.WriteString(" (" + field.typ + ")")
	case "json":
		if !field.whole {
			b.WriteString(" (JSON)")
		}
	}
	switch {
	case len(field.preset) > 0:
		b.WriteString(" (Enter: " + oneLine(plain(field.preset), 60) + ")")
	case !field.required:
		b.WriteString(" (Enter leaves it out)")
	}
	return b.String()
}

// take takes what was written for the current field and goes on to the next one.
// An error says what is wanted; the field is asked again then.
func (f *form) take(text string) error {
	field := f.fields[f.at]
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		if len(field.preset) == 0 && field.required {
			if field.typ != "string" || text == "" {
				return errors.New("an answer is needed; /decline says no")
			}
		} else {
			f.given[f.at] = field.preset
			f.at++
			return nil
		}
	}
	v, err := field.value(trimmed)
	if err != nil {
		return err
	}
	f.given[f.at] = v
	f.at++
	return nil
}

func (field *formField) value(text string) (json.RawMessage, error) {
	switch field.typ {
	case "boolean":
		switch strings.ToLower(text) {
		case "y", "yes", "true":
			return json.RawMessage("true"), nil
		case "n", "no", "false":
			return json.RawMessage("false"), nil
		}
		return nil, errors.New("want y or n")
	case "integer":
		if !json.Valid([]byte(text)) || strings.ContainsAny(text, ".eE\"[{tfn") {
			return nil, errors.New("want a whole number")
		}
		return json.RawMessage(text), nil
	case "number":
		if _, err := strconv.ParseFloat(text, 64); err != nil || !json.Valid([]byte(text)) {
			return nil, errors.New("want a number")
		}
		return json.RawMessage(text), nil
	case "choice":
		return field.choice(text)
	case "choices":
		values := []json.RawMessage{}
		for part := range strings.SplitSeq(text, ",") {
			v, err := field.choice(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		return json.Marshal(values)
	case "json":
		if !json.Valid([]byte(text)) {
			return nil, errors.New("want JSON")
		}
		return json.RawMessage(text), nil
	}
	return json.Marshal(text)
}

// choice is the value of a number or a label.
func (field *formField) choice(text string) (json.RawMessage, error) {
	for i, l := range field.labels {
		if strings.EqualFold(text, l) || text == plain(json.RawMessage(field.values[i])) {
			return json.RawMessage(field.values[i]), nil
		}
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(field.values) {
		return json.RawMessage(field.values[n-1]), nil
	}
	return nil, fmt.Errorf("want one of 1 to %d, or its name", len(field.values))
}

// answer is what was given, as the server wants it.
func (f *form) answer() (client.InputAnswer, error) {
	a := client.InputAnswer{Action: client.InputAccept}
	if f.url != "" {
		return a, nil
	}
	if len(f.fields) == 1 && f.fields[0].whole {
		a.Content = f.given[0]
		return a, nil
	}
	content := map[string]json.RawMessage{}
	for i, field := range f.fields {
		if f.given[i] != nil {
			content[field.name] = f.given[i]
		}
	}
	var err error
	a.Content, err = json.Marshal(content)
	return a, err
}

// input asks the person at the terminal what a tool or a server wants to know.
func (r *runner) input(ctx context.Context, ev *holdfast.ElicitationRequestEvent) error {
	if !r.tty {
		// An answer that nobody gives: the run goes on without, and the exit code says so.
		if _, err := r.client.AnswerInput(ctx, r.session, ev.ID, client.InputAnswer{Action: client.InputCancel}); err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
			return err
		}
		return &exitError{exitRejected, fmt.Errorf("there is a question and nobody can be asked: %s", oneLine(ev.Message, 200))}
	}
	f := formOf(ev)
	r.note("%s", r.style.yellow("? "+clean(f.message)))
	if f.url != "" {
		r.note("open this link in a browser: %s", clean(f.url))
	}
	r.note("%s", r.style.dim("/decline says no, /dismiss gives no answer"))
	for {
		a, err := r.fill(ctx, f)
		if err != nil {
			return err
		}
		_, err = r.client.AnswerInput(ctx, r.session, f.id, a)
		switch holdfast.CodeOf(err) {
		case holdfast.CodeInvalidInput:
			r.note("%s", r.style.red(clean(holdfast.PublicMessage(err))))
			f.again()
			continue
		case holdfast.CodeConflict:
			return nil // it was answered elsewhere
		}
		return err
	}
}

// fill asks field by field until there is an answer.
func (r *runner) fill(ctx context.Context, f *form) (client.InputAnswer, error) {
	for f.url != "" || !f.done() {
		fmt.Fprint(r.errOut, f.ask()+": ")
		line, err := r.line(ctx)
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			if errors.Is(err, io.EOF) {
				return client.InputAnswer{Action: client.InputCancel}, nil
			}
			return client.InputAnswer{}, err
		}
		a, done, problem := f.enter(strings.TrimRight(line, "\r\n"))
		if problem != nil {
			r.note("%s", r.style.red(problem.Error()))
		}
		if done {
			return a, nil
		}
	}
	return f.answer()
}

// enter takes a line. done says that it completes an answer; a problem is shown
// and the field asked again.
func (f *form) enter(line string) (a client.InputAnswer, done bool, problem error) {
	switch text := strings.TrimSpace(line); {
	case text == "/decline":
		return client.InputAnswer{Action: client.InputDecline}, true, nil
	case text == "/dismiss":
		return client.InputAnswer{Action: client.InputCancel}, true, nil
	case f.url != "":
		switch strings.ToLower(text) {
		case "y", "yes":
			a, problem = f.answer()
			return a, problem == nil, problem
		case "n", "no":
			return client.InputAnswer{Action: client.InputDecline}, true, nil
		}
		return a, false, errors.New("want y or n")
	}
	if err := f.take(line); err != nil {
		return a, false, err
	}
	if !f.done() {
		return a, false, nil
	}
	a, problem = f.answer()
	return a, problem == nil, problem
}
