package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/config"
)

var update = flag.Bool("update", false, "rewrite the section of docs/operations.md")

func load(t *testing.T, environ ...string) config.Config {
	t.Helper()
	c, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmptyEnvironmentGivesWhatTheZeroValueMeans(t *testing.T) {
	c := load(t, "PATH=/bin")
	zero := config.Config{}.WithDefaults()
	if c.WorkerID == zero.WorkerID {
		t.Errorf("two workers are both called %s", c.WorkerID)
	}
	c.WorkerID, zero.WorkerID = "", ""
	if d := cmp.Diff(zero, c); d != "" {
		t.Error(d)
	}
	if err := (config.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (config.Config{}).CheckAccess(); err != nil {
		t.Error(err)
	}
	if c.Listen != "127.0.0.1:8080" || c.MaxBody != 1<<20 || c.DrainTimeout != 25*time.Second ||
		c.Recorder != config.On || c.Hosted != config.Unset || c.PublicURL != "http://127.0.0.1:8080" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestEverySettingIsRead(t *testing.T) {
	agents := t.TempDir()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("# rotated in May\n\nacme:second-key-of-acme,with-a-comma\r\nglobex:key-of-globex-0001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := load(t,
		"HOLDFAST_NATS_URL=nats://token@a:4222,nats://token@b:4222",
		"HOLDFAST_DATABASE_URL=postgres://u:p@db/holdfast?sslmode=require",
		"HOLDFAST_DATA=/var/lib/holdfast",
		"HOLDFAST_LISTEN=:8081",
		"HOLDFAST_PUBLIC_URL=https://agents.example.com",
		"HOLDFAST_API_KEYS=acme:first-key-of-acme",
		"HOLDFAST_API_KEYS_FILE="+keys,
		"HOLDFAST_INSECURE_NO_AUTH=true",
		"HOLDFAST_MAX_BODY=512KiB",
		"HOLDFAST_AGENTS="+agents,
		"HOLDFAST_SANDBOX=/opt/sandbox --quiet",
		"HOLDFAST_WORKSPACES=/srv/workspaces",
		"HOLDFAST_DEFAULT_AGENT=demo",
		"HOLDFAST_AGENT_WRITER=openai/gpt-5-mini",
		"HOLDFAST_CORS_ORIGINS=https://App.example.com, http://localhost:5173",
		"HOLDFAST_HOSTED=0",
		"HOLDFAST_MODEL_KEYS_FROM_ENV=1",
		"HOLDFAST_VAULT_KEYS=k1:vault",
		"HOLDFAST_OAUTH_STATE_KEYS=k1:state",
		"HOLDFAST_OAUTH_CALLBACK_URL=https://callback.example.com",
		"HOLDFAST_OAUTH_RETURN_URLS=acme=https://app.example.com/done",
		"HOLDFAST_EGRESS_ALLOW=Tools.internal:8080, 10.0.0.7:443",
		"HOLDFAST_MCP_CATALOGUE="+keys,
		"HOLDFAST_MODEL_CATALOGUE="+keys,
		"HOLDFAST_WORKER_ID=w-1",
		"HOLDFAST_WORKER_SESSIONS=7",
		"HOLDFAST_DRAIN_TIMEOUT=1m30s",
		"HOLDFAST_APPROVAL_TIMEOUT=30m",
		"HOLDFAST_WEBHOOK_KEY=0123456789abcdef0123456789abcdef",
		"HOLDFAST_SEARCH=false",
		"HOLDFAST_OPERATOR_KEYS=operator-key-000001,operator-key-000002",
		"HOLDFAST_DEFAULT_QUOTA=runs=5,tokens_per_month=1000000",
		"HOLDFAST_RECORDER=false",
		"HOLDFAST_REPLICAS=3",
		"HOLDFAST_EVENT_STREAMS=4",
		"HOLDFAST_EVENT_RETENTION=1h",
		"HOLDFAST_LOG_LEVEL=warn",
		"HOLDFAST_LOG_FORMAT=json",
	)
	limits, err := holdfast.ParseQuota("runs=5,tokens_per_month=1000000")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		NATSURL:          "nats://token@a:4222,nats://token@b:4222",
		DatabaseURL:      "postgres://u:p@db/holdfast?sslmode=require",
		Data:             "/var/lib/holdfast",
		Listen:           ":8081",
		PublicURL:        "https://agents.example.com",
		APIKeys:          config.APIKeys{"acme:first-key-of-acme", "acme:second-key-of-acme,with-a-comma", "globex:key-of-globex-0001"},
		APIKeysFile:      keys,
		InsecureNoKey:    true,
		MaxBody:          512 << 10,
		Agents:           agents,
		Sandbox:          "/opt/sandbox --quiet",
		Workspaces:       "/srv/workspaces",
		DefaultAgent:     "demo",
		AgentWriter:      "openai/gpt-5-mini",
		CORSOrigins:      config.Origins{"https://app.example.com", "http://localhost:5173"},
		Hosted:           config.Off,
		ModelKeysFromEnv: config.On,
		VaultKeys:        "k1:vault",
		StateKeys:        "k1:state",
		CallbackURL:      "https://callback.example.com",
		ReturnURLs:       "acme=https://app.example.com/done",
		EgressAllow:      config.HostPorts{"tools.internal:8080", "10.0.0.7:443"},
		MCPCatalogue:     keys,
		ModelCatalogue:   keys,
		WorkerID:         "w-1",
		WorkerSessions:   7,
		DrainTimeout:     90 * time.Second,
		ApprovalTimeout:  30 * time.Minute,
		WebhookKey:       "0123456789abcdef0123456789abcdef",
		Search:           config.Off,
		OperatorKeys:     "operator-key-000001,operator-key-000002",
		DefaultQuota:     config.Quota{Quota: limits},
		Recorder:         config.Off,
		Replicas:         3,
		EventStreams:     4,
		EventRetention:   time.Hour,
		LogLevel:         slog.LevelWarn,
		LogFormat:        "json",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Whoever adds a setting adds it above.
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not in this test", v.Type().Field(i).Name)
		}
	}
}

func TestLastOfTwoCountsAndEmptyIsAbsent(t *testing.T) {
	c := load(t, "HOLDFAST_LISTEN=127.0.0.1:1", "HOLDFAST_LISTEN=127.0.0.1:2", "HOLDFAST_DATA=")
	if c.Listen != "127.0.0.1:2" || c.Data != ".data" {
		t.Errorf("listen %s, data %s", c.Listen, c.Data)
	}
}

func TestAllBadValuesAreReportedTogetherWithoutSecrets(t *testing.T) {
	_, err := config.Load([]string{
		"HOLDFAST_NATS_URL=canary-1.example.com:4222",
		"HOLDFAST_DATABASE_URL=host=db password=canary-2",
		"HOLDFAST_PUBLIC_URL=agents.example.com",
		"HOLDFAST_LISTEN=8080",
		"HOLDFAST_API_KEYS=canary-3",
		"HOLDFAST_API_KEYS_FILE=/nonexistent/keys",
		"HOLDFAST_INSECURE_NO_AUTH=perhaps",
		"HOLDFAST_MAX_BODY=8MB",
		"HOLDFAST_AGENTS=/nonexistent/agents",
		"HOLDFAST_HOSTED=maybe",
		"HOLDFAST_WORKER_ID=a.b",
		"HOLDFAST_WORKER_SESSIONS=many",
		"HOLDFAST_DRAIN_TIMEOUT=-1s",
		"HOLDFAST_APPROVAL_TIMEOUT=-1s",
		"HOLDFAST_WEBHOOK_KEY=canary-4",
		"HOLDFAST_REPLICAS=2",
		"HOLDFAST_EVENT_STREAMS=1000",
		"HOLDFAST_EVENT_RETENTION=5",
		"HOLDFAST_LOG_LEVEL=loud",
		"HOLDFAST_LOG_FORMAT=xml",
		"HOLDFAST_WORKER_SESSION=5",
		"HOLDFAST_COLOUR=red",
	})
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	for _, want := range []string{
		"HOLDFAST_NATS_URL: must be an address that begins with nats://",
		"HOLDFAST_DATABASE_URL: must be an address that begins with postgres://",
		"HOLDFAST_PUBLIC_URL: must be an address",
		"HOLDFAST_LISTEN=8080: must be host:port",
		"HOLDFAST_API_KEYS: entry 1 must be tenant:key",
		"HOLDFAST_API_KEYS_FILE: open /nonexistent/keys",
		"HOLDFAST_INSECURE_NO_AUTH: must be true or false",
		"HOLDFAST_MAX_BODY: must be a size",
		"HOLDFAST_AGENTS=/nonexistent/agents: must be a folder",
		"HOLDFAST_HOSTED: must be true or false",
		"HOLDFAST_WORKER_ID: ",
		`HOLDFAST_WORKER_SESSIONS: "many" must be a whole number`,
		"HOLDFAST_APPROVAL_TIMEOUT=-1s: must not be negative",
		": must have at least 32 characters",
		"HOLDFAST_DRAIN_TIMEOUT=-1s: must be more than 0",
		"HOLDFAST_REPLICAS=2: must be 1, 3 or 5",
		"HOLDFAST_EVENT_STREAMS=1000: must be 1 to 256",
		`HOLDFAST_EVENT_RETENTION: "5" must be a duration`,
		"HOLDFAST_LOG_LEVEL: ",
		"HOLDFAST_LOG_FORMAT=xml: must be text or json",
		"HOLDFAST_WORKER_SESSION: there is no such setting; did you mean HOLDFAST_WORKER_SESSIONS?",
		"HOLDFAST_COLOUR: there is no such setting\n",
	} {
		if !strings.Contains(text+"\n", want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if strings.Contains(text, "canary") {
		t.Error("a credential is in the error")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestReplicasNeedSeveralServers(t *testing.T) {
	_, err := config.Load([]string{"HOLDFAST_REPLICAS=3"})
	if err == nil || !strings.Contains(err.Error(), "set HOLDFAST_NATS_URL") {
		t.Errorf("three copies on one embedded server: %v", err)
	}
}

func TestVariablesOfKubernetesArePassedOver(t *testing.T) {
	load(t,
		"HOLDFAST_SERVICE_HOST=10.0.0.1", "HOLDFAST_SERVICE_PORT=80", "HOLDFAST_SERVICE_PORT_HTTP=80",
		"HOLDFAST_PORT=tcp://10.0.0.1:80", "HOLDFAST_PORT_80_TCP=tcp://10.0.0.1:80",
		"HOLDFAST_API_PORT_8080_TCP_PROTO=tcp", "HOLDFAST_OAUTH_CALLBACK_PORT_80_TCP_ADDR=10.0.0.1",
	)
	if _, err := config.Load([]string{"HOLDFAST_PORT=8080"}); err == nil {
		t.Error("a port that somebody meant to set is passed over")
	}
}

func TestAccess(t *testing.T) {
	for _, c := range []struct {
		environ []string
		ok      bool
	}{
		{[]string{"HOLDFAST_LISTEN=127.0.0.1:0"}, true},
		{[]string{"HOLDFAST_LISTEN=[::1]:80"}, true},
		{[]string{"HOLDFAST_LISTEN=localhost:80"}, true},
		{[]string{"HOLDFAST_LISTEN=:80"}, false},
		{[]string{"HOLDFAST_LISTEN=0.0.0.0:80"}, false},
		{[]string{"HOLDFAST_LISTEN=api.example.com:80"}, false},
		{[]string{"HOLDFAST_LISTEN=:80", "HOLDFAST_API_KEYS=acme:0123456789abcdef"}, true},
		{[]string{"HOLDFAST_LISTEN=:80", "HOLDFAST_INSECURE_NO_AUTH=true"}, true},
	} {
		if err := load(t, c.environ...).CheckAccess(); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.environ, err)
		}
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	c := load(t,
		"HOLDFAST_NATS_URL=nats://canary-token@a:4222,nats://canary-user:canary-password@b:4222",
		"HOLDFAST_DATABASE_URL=postgres://user:canary@db/holdfast?password=canary&sslmode=require",
		"HOLDFAST_API_KEYS=acme:canary-of-acme-1234",
	)
	var text, jsonLog bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("start", "config", c, "nats", c.NATSURL, "keys", c.APIKeys)
	slog.New(slog.NewJSONHandler(&jsonLog, nil)).Info("start", "config", c, "nats", c.NATSURL, "key", c.APIKeys[0])
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		text.String(), jsonLog.String(), string(asJSON), fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c),
		fmt.Sprintf("%s %q %v", c.DatabaseURL, c.APIKeys, &c),
	} {
		if strings.Contains(printed, "canary") {
			t.Errorf("a credential is printed: %s", printed)
		}
	}
	if got := c.DatabaseURL.String(); got != "postgres://xxxxx@db/holdfast?password=xxxxx&sslmode=require" {
		t.Errorf("the rest of an address should be readable: %s", got)
	}
	if !strings.Contains(c.NATSURL.Reveal(), "canary-password") || c.APIKeys.Reveal()[0] != "acme:canary-of-acme-1234" {
		t.Error("Reveal does not reveal")
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]config.Bytes{"0": 0, "1000": 1000, "64KiB": 64 << 10, "8 MiB": 8 << 20, "2GiB": 2 << 30} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s = %d, %v", text, b, err)
		}
		if back := b.String(); back != strings.ReplaceAll(text, " ", "") {
			t.Errorf("%s prints as %s", text, back)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "9223372036854775807GiB"} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d", text, b)
		}
	}
}

// TestOperationsPageIsCurrent compares the table in docs/operations.md with the
// struct; -update writes it.
func TestOperationsPageIsCurrent(t *testing.T) {
	const begin, end = "<!-- config:begin -->\n", "<!-- config:end -->"
	path := filepath.Join("..", "..", "docs", "operations.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section between %q and %q", path, begin, end)
	}
	want := before + begin + "\n" + config.Markdown() + "\n" + end + after
	if string(page) == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not list the settings as they are: run `make generate`", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
