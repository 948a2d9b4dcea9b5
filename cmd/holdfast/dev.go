package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/telemetry"
)

// overrides are flags that set environment variables of the configuration.
type overrides map[string]*string

// load reads the configuration: flags over environment over defaults.
func (o overrides) load(environ []string) (config.Config, error) {
	for name, value := range o {
		if *value != "" {
			environ = append(environ, name+"="+*value)
		}
	}
	return config.Load(environ)
}

func devCommand() *cobra.Command {
	o := overrides{}
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with embedded NATS and SQLite",
		Long: `Run the API, a worker and the recorder in one process, with an embedded NATS
server and SQLite in a folder. Nothing else is needed: the built-in agent "demo"
needs no key. Kill the process and start it on the same folder: every session
goes on where it was.`,
		Args: exactArgs(0),
	}
	flag := func(name, env, def, usage string) {
		v := new(string)
		c.Flags().StringVar(v, name, def, usage)
		o[env] = v
	}
	flag("listen", "HOLDFAST_LISTEN", "", "address of the API (default 127.0.0.1:8080)")
	flag("data", "HOLDFAST_DATA", "", "folder of the data (default .data)")
	flag("agents", "HOLDFAST_AGENTS", "", "folder of agent files (default: only the built-in agents)")
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagDirname("agents")
	flag("log-level", "HOLDFAST_LOG_LEVEL", "", "debug, info, warn or error (default warn)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := o.load(withDefault(os.Environ(), "HOLDFAST_LOG_LEVEL", "warn"))
		if err != nil {
			return &exitError{exitUsage, err}
		}
		tel, err := telemetry.Start(c.Context(), telemetry.Config{
			Service: telemetry.Service{Name: "holdfast-dev", Version: version, Instance: cfg.WorkerID},
			Level:   cfg.LogLevel, Format: cfg.LogFormat,
		})
		if err != nil {
			return err
		}
		small()
		return app.Run(c.Context(), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "holdfast-dev", Version: version, Logger: tel.Logger(), DrainGrace: time.Second,
			Ready: func(addr string) { fmt.Fprint(c.OutOrStdout(), welcome(addr, cfg)) },
		})
	}
	return c
}

// welcome says what runs where, and what to try.
func welcome(addr string, cfg config.Config) string {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		data = cfg.Data
	}
	return strings.NewReplacer("ADDR", addr, "VERSION", programVersion(), "DATA", data, "AGENTS", agentsText(cfg)).Replace(
		`Holdfast VERSION is ready.

  API     http://ADDR
  docs    http://ADDR/docs
  data    DATA
  agents  AGENTS

Try it, in another terminal:

  ID=$(curl -s http://ADDR/api/sessions -H 'content-type: application/json' -d '{"tools_approved":true}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
  curl -N http://ADDR/api/sessions/$ID/agent/demo -H 'content-type: application/json' -d '[{"role":"user","content":"hello"}]'

or talk to it: holdfast chat demo --remote http://ADDR

Ctrl-C stops it; started again on the same data, it goes on where it was.
`)
}

func agentsText(cfg config.Config) string {
	if cfg.Agents == "" {
		return "demo (built in); --agents DIR adds yours"
	}
	return cfg.Agents + ", and demo (built in)"
}

// withDefault gives a variable a value if the environment has none.
func withDefault(environ []string, name, value string) []string {
	for _, e := range environ {
		if k, v, _ := strings.Cut(e, "="); k == name && v != "" {
			return environ
		}
	}
	return append([]string{name + "=" + value}, environ...)
}
