// Command oauth-callback receives the redirects of authorization servers. It is configured by HOLDFAST_*
// variables; docs/operations.md lists them.
package main

import (
	"os"

	"github.com/holdfast-run/holdfast/internal/app/redirect"
	"github.com/holdfast-run/holdfast/internal/telemetry/export"
)

// version is set by the build.
var version = "dev"

func main() {
	os.Exit(redirect.Main("oauth-callback", version, export.FromEnv))
}
