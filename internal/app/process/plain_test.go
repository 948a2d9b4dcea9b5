package process

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// TestPlainAnswers: what net/http answers without asking a handler is a problem as
// all others are, on a connection that was used before, too; what a handler writes
// is never touched.
func TestPlainAnswers(t *testing.T) {
	crafted := "HTTP/1.1 400 Bad Request" + string(plainHeader) + strings.Repeat("x", 64<<10)
	srv, err := Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Conn(r.Context()) == nil {
			t.Error("the connection of the request is not known")
		} else if _, ok := Conn(r.Context()).(*net.TCPConn); !ok {
			t.Errorf("the connection is a %T", Conn(r.Context()))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(crafted)))
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, crafted)
	}), slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for name, c := range map[string]struct {
		request string
		status  int
		code    holdfast.Code
	}{
		"a large header":     {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", 431, holdfast.CodeTooLarge},
		"no HTTP":            {"what is this\r\n\r\n", 400, holdfast.CodeInvalid},
		"no host":            {"GET / HTTP/1.1\r\n\r\n", 400, holdfast.CodeInvalid},
		"an odd header":      {"GET / HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n", 400, holdfast.CodeInvalid},
		"an odd encoding":    {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip\r\n\r\n", 501, holdfast.CodeNotOffered},
		"an odd version":     {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, holdfast.CodeNotOffered},
		"an odd expectation": {"POST / HTTP/1.1\r\nHost: x\r\nExpect: much\r\nContent-Length: 1\r\n\r\nx", 417, holdfast.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			ask := func(request string) *http.Response {
				t.Helper()
				if _, err := io.WriteString(conn, request); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				return resp
			}
			resp := ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != crafted {
				t.Fatalf("an answer of %d bytes, %v; it was changed", len(body), err)
			}
			resp = ask(c.request)
			body, err = io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var p struct {
				Title, Detail string
				Status        int
				Code          holdfast.Code
			}
			if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != c.status || p.Status != c.status || p.Code != c.code || p.Title == "" || p.Detail == "" {
				t.Errorf("%s: %s, %v; want %d and %s", resp.Status, body, err, c.status, c.code)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
		})
	}
}
