package app_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestRemoteAuthorization: a program that holds nothing but a Runtime brings its
// user through an authorization, with the code alone and with the address at which
// the browser arrived; it declines one; and a code that nobody waits for is an error.
func TestRemoteAuthorization(t *testing.T) {
	for name, iss := range map[string]bool{"code": false, "address": true, "declined": false} {
		t.Run(name, func(t *testing.T) {
			p := newProtected(t, false)
			p.silent = !iss
			base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
			c, err := client.NewClient(base)
			if err != nil {
				t.Fatal(err)
			}
			r, err := client.NewRemoteRuntime(c, client.WithRemoteAgentFilename("payer.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var rt client.Runtime = r
			if err := rt.ResumeCodeReceived(t.Context(), "early"); holdfast.CodeOf(err) != holdfast.CodeConflict {
				t.Errorf("a code before anything: %v", err)
			}
			s := holdfast.NewSession("bob")
			s.ToolsApproved = true
			var states []string
			for e := range rt.RunStream(t.Context(), s) {
				switch ev := e.(type) {
				case *holdfast.AuthorizationRequiredEvent:
					states = append(states, ev.Confirmation)
					if ev.Confirmation != "pending" {
						continue
					}
					if name == "declined" {
						rt.ResumeStartAuthorizationFlow(t.Context(), false)
						continue
					}
					answer := begin(t, http.DefaultClient, ev.AuthorizationURL)
					if !iss {
						u, err := url.Parse(answer)
						if err != nil {
							t.Fatal(err)
						}
						answer = u.Query().Get("code")
					} else if err := rt.ResumeCodeReceived(t.Context(), "http://localhost/?error=x"); holdfast.CodeOf(err) != holdfast.CodeInvalid {
						t.Errorf("an address without a code: %v", err)
					}
					if err := rt.ResumeCodeReceived(t.Context(), answer); err != nil {
						t.Errorf("the code: %v", err)
					}
				case *holdfast.ErrorEvent:
					t.Errorf("error: %s", ev.Error)
				}
			}
			want := []string{"pending", "confirmed"}
			if name == "declined" {
				want = []string{"pending", "denied"}
			}
			if !slices.Equal(states, want) {
				t.Errorf("authorization_required %v, want %v", states, want)
			}
			if paid := slices.Equal(p.calls, []string{"bob"}); paid == (name == "declined") {
				t.Errorf("effects %v", p.calls)
			}
			if name != "declined" {
				if got := s.LastAssistantMessage(); got != "It says: paid bob" {
					t.Errorf("the answer is %q", got)
				}
				if err := rt.ResumeCodeReceived(t.Context(), "late"); holdfast.CodeOf(err) != holdfast.CodeConflict {
					t.Errorf("a code after all: %v", err)
				}
			}
		})
	}
}
