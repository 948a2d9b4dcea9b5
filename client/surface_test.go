package client_test

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// What follows is the surface of the contract, as programs that use it are
// compiled against it. Whoever changes a line here breaks them.
var _ = []any{
	(func(string, ...client.Option) (*client.Client, error))(client.NewClient),
	(func(string, ...client.Option) (*client.Client, error))(client.New),
	(func(*http.Client) client.Option)(client.WithHTTPClient),
	(func(time.Duration) client.Option)(client.WithTimeout),
	(func(string) client.Option)(client.WithAPIKey),

	(func(*client.Client, context.Context, string) (*client.CreatedAgent, error))((*client.Client).CreateAgent),
	(func(*client.Client, context.Context, string, string, string, string) (string, error))((*client.Client).CreateAgentConfig),
	(func(*client.Client, context.Context, string, any) (*client.EditedAgent, error))((*client.Client).EditAgentConfig),
	(func(*client.Client, context.Context, string) (*client.ImportedAgent, error))((*client.Client).ImportAgent),
	(func(*client.Client, context.Context) (*client.ExportedAgents, error))((*client.Client).ExportAgents),
	(func(*client.Client, context.Context, string) (*client.PulledAgent, error))((*client.Client).PullAgent),
	(func(*client.Client, context.Context, string, string) (*client.PushedAgent, error))((*client.Client).PushAgent),
	(func(*client.Client, context.Context, string) error)((*client.Client).DeleteAgent),
	(func(*client.Client, context.Context, string) (json.RawMessage, error))((*client.Client).GetAgent),
	(func(*client.Client, context.Context) ([]client.Agent, error))((*client.Client).GetAgents),

	(func(*client.Client, context.Context, client.NewSession) (*client.Document, error))((*client.Client).CreateSession),
	(func(*client.Client, context.Context, string) (*client.Document, error))((*client.Client).GetSession),
	(func(*client.Client, context.Context) ([]client.Session, error))((*client.Client).GetSessions),
	(func(*client.Client, context.Context, string) error)((*client.Client).DeleteSession),
	(func(*client.Client, context.Context, string, client.ResumeType) error)((*client.Client).ResumeSession),
	(func(*client.Client, context.Context, string, string, []holdfast.Message) (<-chan holdfast.Event, error))((*client.Client).RunAgent),
	(func(*client.Client, context.Context, string, string, string, []holdfast.Message) (<-chan holdfast.Event, error))((*client.Client).RunAgentWithAgentName),
	(func(*client.Client, context.Context, string, bool) error)((*client.Client).ResumeStartAuthorizationFlow),
	(func(*client.Client, context.Context, string, string) error)((*client.Client).ResumeCodeReceived),
	(func(*client.Client, context.Context) (string, error))((*client.Client).GetDesktopToken),

	(func(*client.Client, ...client.RemoteRuntimeOption) (*client.RemoteRuntime, error))(client.NewRemoteRuntime),
	(func(string) client.RemoteRuntimeOption)(client.WithRemoteAgentFilename),
	(func(string) client.RemoteRuntimeOption)(client.WithRemoteCurrentAgent),
	(func(string) client.RemoteRuntimeOption)(client.WithRemoteSessionID),

	client.ErrorResponse{Error: "text"},
}

// A runtime, here or over a server, is all of these and no more.
type contractRuntime interface {
	CurrentAgent() *holdfast.Agent
	RunStream(ctx context.Context, s *holdfast.Session) <-chan holdfast.Event
	Run(ctx context.Context, s *holdfast.Session) ([]holdfast.Message, error)
	Resume(ctx context.Context, confirmation holdfast.ResumeType)
	Summarize(ctx context.Context, s *holdfast.Session, events chan holdfast.Event)
	ResumeStartAuthorizationFlow(ctx context.Context, confirmation bool)
	ResumeCodeReceived(ctx context.Context, code string) error
}

var (
	_ contractRuntime = client.Runtime(nil)
	_ client.Runtime  = contractRuntime(nil)
	_ client.Runtime  = (*client.RemoteRuntime)(nil)
)

// The constants are texts of the wire: a map refuses two keys that are the same, and
// the compiler a duplicate constant.
var _ = map[bool]int{
	false: 0,
	client.ResumeTypeApprove == "approve" && client.ResumeTypeApproveSession == "approve-session" && client.ResumeTypeReject == "reject": 1,
}
