package app

import (
	"crypto/rand"
	"net/http"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/app/process"
)

// retryable reports whether an error may go away by waiting.
func retryable(err error) bool {
	code := holdfast.CodeOf(err)
	return code == holdfast.CodeUnavailable || code == holdfast.CodeTimeout
}

// processSuffix tells this process from every other that has or had its name:
// two processes with one identity could take each other's claims for their own.
func processSuffix() string { return strings.ToLower(rand.Text()[:10]) }

// healthHandler answers health checks of a process without an API, and of any
// process that has not started yet.
func (p *program) healthHandler(started bool) http.Handler {
	var checks []process.Check
	if started {
		for _, c := range p.checks() {
			checks = append(checks, process.Check{Name: c.Name, Check: c.Check})
		}
	}
	return process.Health(checks, started)
}
