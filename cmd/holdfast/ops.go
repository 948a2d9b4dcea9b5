package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

func migrateCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schema of the database up to date",
		Long: `Bring the schema of the Postgres database in HOLDFAST_DATABASE_URL up to date. It
may run beside programs of the version before: schemas only grow.`,
		Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if cfg.DatabaseURL == "" {
				return &exitError{exitUsage, errors.New("HOLDFAST_DATABASE_URL is not set; SQLite needs no migration by hand")}
			}
			if err := app.Migrate(c.Context(), cfg); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, map[string]any{"up_to_date": true})
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the schema is up to date")
			return err
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func healthcheckCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "healthcheck URL", Short: "Exit with 0 if the URL answers with a 2xx status", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, args[0], nil)
			if err == nil && (req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https") {
				err = fmt.Errorf("%q: want a URL such as http://127.0.0.1:8080/readyz", args[0])
			}
			if err != nil {
				return &exitError{exitUsage, err}
			}
			client := &http.Client{Timeout: 5 * time.Second}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			ok := resp.StatusCode/100 == 2
			if asJSON {
				if err := printJSON(c, map[string]any{"ok": ok, "status": resp.StatusCode}); err != nil {
					return err
				}
			}
			if !ok {
				return fmt.Errorf("%s answers %s", args[0], resp.Status)
			}
			return nil
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// hasData refuses a folder that is not there, where it would be made: that nothing
// is found in it says nothing.
func hasData(cfg config.Config) error {
	cfg = cfg.WithDefaults()
	if cfg.DatabaseURL != "" {
		return nil
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return &exitError{exitUsage, fmt.Errorf("there is no data: %w\nname the folder of holdfast dev with --data, or set HOLDFAST_DATABASE_URL", err)}
	}
	return nil
}

func verifyCommand() *cobra.Command {
	var o app.VerifyOptions
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check every rule of the log by reading it alone",
		Long: `Read sessions from the database and the bus of the configuration (HOLDFAST_*
variables, or --data for the folder of "holdfast dev") and print every rule that
a log breaks: session, sequence number, rule. Exit code 1 says that there are some.`,
		Args: exactArgs(0),
	}
	data := c.Flags().String("data", "", "folder of the data (default .data)")
	_ = c.MarkFlagDirname("data")
	c.Flags().StringVar(&o.Only.Tenant, "tenant", "default", "tenant of --session")
	c.Flags().StringVar(&o.Only.Session, "session", "", "verify this session only (default: all sessions of all tenants)")
	c.Flags().BoolVar(&o.ArchiveOnly, "archive-only", false, "read the database alone, not what is still on the bus")
	var asJSON bool
	jsonFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := overrides{"HOLDFAST_DATA": data}.load(os.Environ())
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if err := hasData(cfg); err != nil {
			return err
		}
		if o.Only.Session == "" {
			o.Only.Tenant = ""
		}
		broken := c.OutOrStdout()
		if asJSON {
			broken = c.ErrOrStderr()
		}
		done := progress(c.ErrOrStderr(), "reading the log")
		r, err := app.Verify(c.Context(), cfg, o, broken)
		done()
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(c, map[string]any{"sessions": r.Sessions, "events": r.Events, "violations": r.Violations})
		} else {
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d sessions, %d events, %d violations\n", r.Sessions, r.Events, r.Violations)
		}
		if err != nil {
			return err
		}
		if r.Violations > 0 {
			return &exitError{exitFailed, fmt.Errorf("%d rules are broken", r.Violations)}
		}
		return nil
	}
	return c
}
