package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/pgstore"
)

// Migrate brings the schema of the configured Postgres database up to date.
func Migrate(ctx context.Context, cfg config.Config) error {
	if err := pgstore.Migrate(ctx, cfg.DatabaseURL.Reveal(), pgstore.Options{Logger: slog.Default()}); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// CheckAgent reports what is wrong with an agent file. Servers of a catalogue are
// known if HOLDFAST_MCP_CATALOGUE names one, as for the program that would run it.
func CheckAgent(name string, source []byte, hosted bool) error {
	_, err := agent.Parse(name, source, agent.Options{Hosted: hosted, NotOffered: notOffered, MCPCatalog: os.Getenv("HOLDFAST_MCP_CATALOGUE") != ""})
	return err
}

// AgentSchema returns the JSON schema of agent files.
func AgentSchema() []byte { return agent.JSONSchema() }
