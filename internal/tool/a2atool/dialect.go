package a2atool

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"

	"github.com/holdfast-run/holdfast/internal/a2awire"
)

// card is what is read of an agent's card, of either version.
type card struct {
	Name         string `json:"name"`
	Description  string `json:"description"`
	Capabilities struct {
		Streaming bool `json:"streaming"`
	} `json:"capabilities"`
	Skills []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	} `json:"skills"`

	// Supported is how 1.0 says where the agent is, in the order of its preference.
	Supported []struct {
		URL     string `json:"url"`
		Binding string `json:"protocolBinding"`
		Version string `json:"protocolVersion"`
		Tenant  string `json:"tenant"`
	} `json:"supportedInterfaces"`

	// The rest is how 0.3 says it.
	ProtocolVersion string `json:"protocolVersion"`
	URL             string `json:"url"`
	Transport       string `json:"preferredTransport"`
	Additional      []struct {
		URL       string `json:"url"`
		Transport string `json:"transport"`
	} `json:"additionalInterfaces"`
}

// peer is where and how an agent is spoken to.
type peer struct {
	url     *url.URL
	dialect *dialect
	// tenant is what the card wants to have in every request, of 1.0 alone.
	tenant string
}

// peer chooses: JSON-RPC of 1.0 if the agent has it, else of 0.3. What of a card is
// of no known version or binding is said in the error.
func (c *card) peer() (peer, error) {
	var others []string
	var old []string // where the agent speaks 0.3 over JSON-RPC
	for _, i := range c.Supported {
		switch {
		case !strings.EqualFold(i.Binding, string(a2a.TransportProtocolJSONRPC)):
			others = append(others, i.Binding)
		case i.Version == "1" || strings.HasPrefix(i.Version, "1."): // one of 1.2 speaks 1.0 (section 3.6.2)
			u, err := endpoint(i.URL)
			return peer{u, &dialect1, i.Tenant}, err
		case i.Version == "0.3" || strings.HasPrefix(i.Version, "0.3."):
			old = append(old, i.URL)
		default:
			others = append(others, "JSONRPC of version "+i.Version)
		}
	}
	if c.URL != "" || c.ProtocolVersion != "" {
		if c.Transport == "" || c.Transport == string(a2a.TransportProtocolJSONRPC) {
			old = append(old, c.URL)
		} else {
			others = append(others, c.Transport)
		}
		for _, i := range c.Additional {
			if i.Transport == string(a2a.TransportProtocolJSONRPC) {
				old = append(old, i.URL)
			} else {
				others = append(others, i.Transport)
			}
		}
	}
	switch {
	case len(old) > 0:
		u, err := endpoint(old[0])
		return peer{url: u, dialect: &dialect03}, err
	case len(others) > 0:
		slices.Sort(others)
		return peer{}, fmt.Errorf("the agent speaks %.200s and not JSONRPC of A2A 1.0 or 0.3, which are offered", strings.Join(slices.Compact(others), ", "))
	}
	return peer{}, errors.New("the card is none of A2A 1.0 or 0.3, which are offered")
}

// endpoint reads an address of a card.
func endpoint(at string) (*url.URL, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("the card points to %q, which is no absolute URL with http or https", at)
	}
	return u, nil
}

// op is something that an agent is asked.
type op int

const (
	opSend op = iota
	opStream
	opGet
	opCancel
)

// dialect is a version of the protocol as it is written. What is said is the same,
// in the types of the SDK of 0.3.
type dialect struct {
	// version is what requests say of themselves, "" if that has no word for it.
	version string
	methods [4]string
	// params writes the parameters of a request, event reads its result.
	params func(p any, tenant string) any
	event  func(o op, result json.RawMessage) (a2a.Event, error)
}

// dialect03 is A2A 0.3 (section 7).
var dialect03 = dialect{
	methods: [4]string{opSend: "message/send", opStream: "message/stream", opGet: "tasks/get", opCancel: "tasks/cancel"},
	params:  func(p any, _ string) any { return p },
	event:   func(_ op, result json.RawMessage) (a2a.Event, error) { return a2a.UnmarshalEventJSON(result) },
}

// dialect1 is A2A 1.0 (section 9.4).
var dialect1 = dialect{
	version: a2awire.Version,
	methods: [4]string{opSend: a2awire.MethodSend, opStream: a2awire.MethodStream, opGet: a2awire.MethodGet, opCancel: a2awire.MethodCancel},
	params: func(p any, tenant string) any {
		switch p := p.(type) {
		case *a2a.MessageSendParams:
			q := a2awire.NewSendMessageRequest(p)
			q.Tenant = tenant
			return q
		case *a2a.TaskQueryParams:
			return a2awire.TaskRequest{Tenant: tenant, ID: string(p.ID), HistoryLength: p.HistoryLength}
		case *a2a.TaskIDParams:
			return a2awire.TaskRequest{Tenant: tenant, ID: string(p.ID)}
		}
		return p
	},
	event: func(o op, result json.RawMessage) (a2a.Event, error) {
		if o == opSend || o == opStream {
			var r a2awire.StreamResponse
			if err := json.Unmarshal(result, &r); err != nil {
				return nil, err
			}
			return r.Event()
		}
		var t a2awire.Task
		if err := json.Unmarshal(result, &t); err != nil {
			return nil, err
		}
		return t.Task()
	},
}
