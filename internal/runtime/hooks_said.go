package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// hookVerdict is what the hooks of a moment say together.
type hookVerdict struct {
	event     string
	blocked   bool
	decision  string // "allow" or "ask": the stricter of what was said
	messages  []string
	contexts  []string
	warnings  []string
	arguments json.RawMessage
	changed   bool
}

// hookSaid is the object that a hook may write to its standard output.
type hookSaid struct {
	Continue       *bool  `json:"continue"`
	StopReason     string `json:"stop_reason"`
	SuppressOutput bool   `json:"suppress_output"` // it is shown to nobody in any case
	SystemMessage  string `json:"system_message"`
	Decision       string `json:"decision"`
	Reason         string `json:"reason"`
	Specific       *struct {
		HookEventName            string                     `json:"hook_event_name"`
		PermissionDecision       string                     `json:"permission_decision"`
		PermissionDecisionReason string                     `json:"permission_decision_reason"`
		UpdatedInput             map[string]json.RawMessage `json:"updated_input"`
		AdditionalContext        string                     `json:"additional_context"`
	} `json:"hook_specific_output"`
}

// What the events can do with what hooks say.
var (
	canBlock = map[string]bool{
		agent.HookPreToolUse: true, agent.HookPostToolUse: true, agent.HookPermissionRequest: true, agent.HookUserPromptSubmit: true,
	}
	canTell   = map[string]bool{agent.HookSessionStart: true, agent.HookUserPromptSubmit: true, agent.HookTurnStart: true}
	canDecide = map[string]bool{agent.HookPreToolUse: true, agent.HookPermissionRequest: true}
)

// add adds what one hook said. The exit code 0 is success, with an object or a text
// on the standard output; 2 blocks, for the reason on the standard error; any other
// is a failure, as an error is.
func (v *hookVerdict) add(h *agent.Hook, out tool.HookOutput, err error) {
	if err != nil {
		v.failed(h, err)
		return
	}
	text := strings.TrimSpace(out.Stdout)
	switch out.ExitCode {
	case 0:
	case 2:
		why := strings.TrimSpace(out.Stderr)
		if said, err := readHook(text, false); why == "" && err == nil && said != nil {
			why = said.Reason
		}
		v.block(h, why)
		return
	default:
		err := fmt.Errorf("exit code %d", out.ExitCode)
		if why := strings.TrimSpace(out.Stderr); why != "" {
			err = fmt.Errorf("%w: %s", err, clip(why, 500))
		}
		v.failed(h, err)
		return
	}
	said, err := readHook(text, h.StrictOutput)
	if err == nil && said != nil {
		err = v.fits(said, h.StrictOutput)
	}
	switch {
	case err != nil:
		v.failed(h, err)
	case said != nil:
		v.said(h, said)
	case text != "" && canTell[v.event]:
		v.contexts = append(v.contexts, text)
	}
}

// readHook returns the object in the output of a hook, nil if there is a text or
// nothing.
func readHook(text string, strict bool) (*hookSaid, error) {
	if !strings.HasPrefix(text, "{") {
		if strict && text != "" {
			return nil, errors.New("the output is no JSON object, which strict_output asks for")
		}
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if strict {
		dec.DisallowUnknownFields()
	}
	var said hookSaid
	if err := dec.Decode(&said); err != nil {
		return nil, fmt.Errorf("the output is no JSON object of the known form: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the output is more than one JSON object")
	}
	return &said, nil
}

// fits checks values that have a meaning; for strict hooks also that the event can
// do something with them.
func (v *hookVerdict) fits(s *hookSaid, strict bool) error {
	if s.Decision != "" && s.Decision != "block" {
		return fmt.Errorf("decision is %q; the only one is block", s.Decision)
	}
	sp := s.Specific
	if sp == nil {
		return nil
	}
	switch sp.PermissionDecision {
	case "", "allow", "ask", "deny":
	default:
		return fmt.Errorf("permission_decision is %q; use allow, ask or deny", sp.PermissionDecision)
	}
	switch {
	case !strict:
	case sp.HookEventName != "" && sp.HookEventName != v.event:
		return fmt.Errorf("hook_event_name is %q, and the event %q", sp.HookEventName, v.event)
	case sp.PermissionDecision != "" && !canDecide[v.event]:
		return fmt.Errorf("permission_decision has no meaning for %s", v.event)
	case sp.UpdatedInput != nil && v.event != agent.HookPreToolUse:
		return fmt.Errorf("updated_input has no meaning for %s", v.event)
	case sp.AdditionalContext != "" && !canTell[v.event]:
		return fmt.Errorf("additional_context has no meaning for %s", v.event)
	}
	return nil
}

func (v *hookVerdict) said(h *agent.Hook, s *hookSaid) {
	if s.SystemMessage != "" {
		v.warnings = append(v.warnings, s.SystemMessage)
	}
	if s.Continue != nil && !*s.Continue {
		v.block(h, s.StopReason)
	}
	if s.Decision == "block" {
		v.block(h, s.Reason)
	}
	sp := s.Specific
	if sp == nil {
		return
	}
	if sp.AdditionalContext != "" && canTell[v.event] {
		v.contexts = append(v.contexts, sp.AdditionalContext)
	}
	if canDecide[v.event] {
		switch {
		case sp.PermissionDecision == "deny":
			v.block(h, sp.PermissionDecisionReason)
		case sp.PermissionDecision == "ask", sp.PermissionDecision == "allow" && v.decision == "":
			v.decision = sp.PermissionDecision
		}
	}
	if sp.UpdatedInput != nil && v.event == agent.HookPreToolUse {
		args := map[string]json.RawMessage{}
		if err := json.Unmarshal(v.arguments, &args); err != nil {
			args = map[string]json.RawMessage{}
		}
		maps.Copy(args, sp.UpdatedInput)
		raw, err := plainJSON(args)
		if err != nil {
			v.failed(h, err)
			return
		}
		v.arguments, v.changed = raw, true
	}
}

// plainJSON is JSON without escapes for HTML, which commands would have to undo.
func plainJSON(x any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(x); err != nil {
		return nil, fmt.Errorf("encode arguments: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// block notes that a hook does not let it happen. Where the event cannot be
// blocked, the user is told so.
func (v *hookVerdict) block(h *agent.Hook, why string) {
	if !canBlock[v.event] {
		v.warnings = append(v.warnings, fmt.Sprintf("The hook %q wants to block, which hooks of %s cannot.", h.Label(), v.event))
		return
	}
	v.blocked = true
	if why = strings.TrimSpace(why); why != "" {
		v.messages = append(v.messages, why)
	}
}

// failed notes that a hook could not say anything. A call whose hooks fail is not
// made.
func (v *hookVerdict) failed(h *agent.Hook, err error) {
	text := fmt.Sprintf("The hook %q failed: %v", h.Label(), err)
	switch {
	case v.event == agent.HookPreToolUse || h.OnError == "block" && canBlock[v.event]:
		v.block(h, text)
	case h.OnError != "ignore":
		v.warnings = append(v.warnings, text)
	}
}
