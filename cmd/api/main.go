// Command api serves the HTTP API. It is configured by HOLDFAST_*
// variables; docs/operations.md lists them.
package main

import (
	"os"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/telemetry/export"
)

// version is set by the build.
var version = "dev"

func main() {
	os.Exit(app.Main("api", version, export.FromEnv, func(_ config.Config) app.Roles {
		return app.Roles{API: true}
	}))
}
