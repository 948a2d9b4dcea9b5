package builtin_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

const page = `<!doctype html><html><head><title> A  page </title><style>p{}</style></head><body>
<nav>menu</nav><h1>Top</h1><p>Some <b>bold</b> and <a href="/next?a=1">a link</a>,<br>then <code>x := 1</code>.</p>
<ul><li>one</li><li>two<ol><li>inner</li></ol></li></ul><pre>a
  b</pre><script>evil()</script><table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table>
<p hidden>hidden</p><img src=x alt="A cat"></body></html>`

type site struct {
	*httptest.Server
	robots      string
	robotsCode  int
	robotsReads atomic.Int64
	started     chan struct{}
}

// newSite is a web site for tests, whose handlers end with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{robots: "User-agent: *\nDisallow: /private\n", robotsCode: 200, started: make(chan struct{}, 1)}
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		s.robotsReads.Add(1)
		w.WriteHeader(s.robotsCode)
		_, _ = io.WriteString(w, s.robots)
	})
	mux.HandleFunc("/page", text("text/html; charset=utf-8", page))
	mux.HandleFunc("/latin", text("text/html; charset=iso-8859-1", "<p>gr\xfc\xdf</p>"))
	mux.HandleFunc("/json", text("application/json", `{"a":1}`))
	mux.HandleFunc("/image", text("image/png", "\x89PNG"))
	mux.HandleFunc("/private/x", text("text/plain", "secret"))
	mux.HandleFunc("/empty", text("text/plain", ""))
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for {
			if _, err := z.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/deep", text("text/html", strings.Repeat("<div>", 400)+"bottom"))
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case s.started <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *site) fetch(t *testing.T) *builtin.Toolset {
	t.Helper()
	ts := builtin.NewFetch(builtin.FetchOptions{AllowHosts: []string{s.Listener.Addr().String()}})
	t.Cleanup(func() {
		if err := ts.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ts
}

func get(t *testing.T, ts *builtin.Toolset, url, more string) tool.Result {
	t.Helper()
	res, err := ts.Call(t.Context(), tool.Call{Name: "fetch", Arguments: fmt.Sprintf(`{"urls":[%q]%s}`, url, more)})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestFetch(t *testing.T) {
	s := newSite(t)
	urls := func(paths ...string) string {
		for i := range paths {
			paths[i] = fmt.Sprintf("%q", s.URL+paths[i])
		}
		return `{"urls":[` + strings.Join(paths, ",") + `]}`
	}
	tooltest.Toolset(t, tooltest.Case{
		New: func(t *testing.T) tool.Toolset { return s.fetch(t) },
		Good: []tool.Call{
			{Name: "fetch", Arguments: urls("/page", "/image")},
			{Name: "fetch", Arguments: urls("/empty")},
		},
		Bad: []tool.Call{
			{Name: "fetch", Arguments: `{"urls":[]}`},
			{Name: "fetch", Arguments: urls("/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10", "/11")},
			{Name: "fetch", Arguments: `{"urls":["file:///etc/passwd"]}`},
			{Name: "fetch", Arguments: `{"urls":["http://user:pw@host/"]}`},
			{Name: "fetch", Arguments: `{"urls":["%"]}`},
			{Name: "fetch", Arguments: `{"urls":["http://x"],"format":"pdf"}`},
			{Name: "fetch", Arguments: `{"urls":["http://x"],"timeout":1000}`},
		},
		Blocking: tool.Call{Name: "fetch", Arguments: urls("/hang")},
		Started:  func(*testing.T) { <-s.started },
	})
}

func TestFetchFormats(t *testing.T) {
	s := newSite(t)
	ts := s.fetch(t)
	markdown := "# A page\n\n# Top\n\nSome **bold** and [a link](" + s.URL + "/next?a=1),\nthen `x := 1`.\n\n" +
		"- one\n- two\n  1. inner\n\n```\na\n  b\n```\n\nk | v\n1 | 2\n\n[image: A cat]"
	if got := get(t, ts, s.URL+"/page", "").Output; got != markdown {
		t.Errorf("markdown:\n%s\nwant:\n%s", got, markdown)
	}
	plain := "A page\n\nTop\n\nSome bold and a link,\nthen x := 1.\n\n- one\n- two\n  1. inner\n\na\n  b\n\nk | v\n1 | 2\n\n[image: A cat]"
	if got := get(t, ts, s.URL+"/page", `,"format":"text"`).Output; got != plain {
		t.Errorf("text:\n%s\nwant:\n%s", got, plain)
	}
	if got := get(t, ts, s.URL+"/page", `,"format":"html"`).Output; got != page {
		t.Errorf("html:\n%s", got)
	}
	for path, want := range map[string]string{
		"/latin": "grüß", "/json": `{"a":1}`, "/deep": "bottom", "/redirect?to=/json": `{"a":1}`,
	} {
		if res := get(t, ts, s.URL+path, ""); res.IsError || res.Output != want {
			t.Errorf("%s: %+v", path, res)
		}
	}
	for path, want := range map[string]string{
		"/image": "no text but image/png", "/loop": "more than 5 redirects", "/none": "HTTP 404",
		"/redirect?to=file:///etc/passwd": "only absolute URLs", "/redirect?to=/private/x": "robots.txt",
	} {
		if res := get(t, ts, s.URL+path, ""); !res.IsError || !strings.Contains(res.Output, want) {
			t.Errorf("%s: %+v, want %q", path, res, want)
		}
	}
	for _, path := range []string{"/huge", "/bomb"} {
		if res := get(t, ts, s.URL+path, ""); !strings.Contains(res.Output, "[page cut") || len(res.Output) > 3<<20 {
			t.Errorf("%s: %d bytes", path, len(res.Output))
		}
	}
	if res := get(t, ts, s.URL+"/hang", `,"timeout":1`); !strings.Contains(res.Output, "within 1s") {
		t.Errorf("hang: %+v", res)
	}
}

func TestFetchRobots(t *testing.T) {
	s := newSite(t)
	ts := s.fetch(t)
	if res := get(t, ts, s.URL+"/private/x", ""); !res.IsError || !strings.Contains(res.Output, "robots.txt") {
		t.Errorf("%+v", res)
	}
	s.robots = "User-agent: *\nDisallow: /\n\nUser-agent: Holdfast\nUser-agent: other\nAllow: /private/x$ # that one\nDisallow: /priv*te\n"
	for path, want := range map[string]bool{"/private/x": true, "/private/xy": false, "/json": true} {
		res := get(t, ts, s.URL+path, "")
		if forbidden := strings.Contains(res.Output, "robots.txt"); forbidden == want {
			t.Errorf("%s: %+v", path, res)
		}
	}
	s.robotsCode = http.StatusInternalServerError
	if res := get(t, ts, s.URL+"/json", ""); !strings.Contains(res.Output, "robots.txt cannot be read (HTTP 500)") {
		t.Errorf("%+v", res)
	}
	s.robotsCode = http.StatusNotFound
	before := s.robotsReads.Load()
	res, err := ts.Call(t.Context(), tool.Call{Name: "fetch", Arguments: fmt.Sprintf(`{"urls":[%q,%q]}`, s.URL+"/private/x", s.URL+"/json")})
	if err != nil || res.IsError || !strings.Contains(res.Output, "secret") {
		t.Errorf("%+v, %v", res, err)
	}
	if n := s.robotsReads.Load() - before; n != 1 {
		t.Errorf("robots.txt was read %d times for one host", n)
	}
}

func TestFetchRefusesPrivateAddresses(t *testing.T) {
	s := newSite(t)
	ts := builtin.NewFetch(builtin.FetchOptions{})
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.0.0.1", "192.168.1.1",
		"172.16.0.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
		"224.0.0.1", "255.255.255.255", "2130706433", "0x7f000001",
	} {
		res := get(t, ts, "http://"+host+":"+port+"/json", `,"timeout":5`)
		if !res.IsError || strings.Contains(res.Output, `{"a"`) {
			t.Errorf("%s: %+v", host, res)
		}
		if numeric := !strings.HasPrefix(host, "2130") && !strings.HasPrefix(host, "0x"); numeric && !strings.Contains(res.Output, "not a public one") {
			t.Errorf("%s: %s", host, res.Output)
		}
	}
	// The allow-list is by exact host and port; a redirect from it does not count.
	other := newSite(t)
	allowed := s.fetch(t)
	if res := get(t, allowed, s.URL+"/redirect?to="+other.URL+"/json", ""); !res.IsError || !strings.Contains(res.Output, "not a public one") {
		t.Errorf("redirect: %+v", res)
	}
}

func TestFetchHosts(t *testing.T) {
	s := newSite(t)
	addr := s.Listener.Addr().String()
	port := addr[strings.LastIndexByte(addr, ':'):]
	for _, c := range []struct {
		allowed, blocked []string
		host             string
		want             bool
	}{
		{nil, nil, "127.0.0.1", true},
		{[]string{"example.com"}, nil, "127.0.0.1", false},
		{[]string{"127.0.0.0/8"}, nil, "127.0.0.1", true},
		{[]string{"127.0.0.1"}, nil, "127.0.0.1", true},
		{[]string{"127.0.0.1"}, []string{"127.0.0.0/8"}, "127.0.0.1", false},
		{nil, []string{"127.0.0.1"}, "127.0.0.1", false},
		{nil, []string{"127.0.0.1"}, "[::ffff:127.0.0.1]", false},
		{[]string{"localhost"}, nil, "localhost", true},
		{[]string{"LocalHost."}, nil, "localhost", true},
		{[]string{".localhost"}, nil, "localhost", false},
		{[]string{"*.localhost"}, nil, "localhost", false},
		{nil, []string{"localhost"}, "localhost.", false},
		{nil, []string{"host"}, "localhost", true},
	} {
		ts := builtin.NewFetch(builtin.FetchOptions{AllowHosts: []string{addr, "localhost" + port}, Allowed: c.allowed, Blocked: c.blocked})
		res := get(t, ts, "http://"+c.host+port+"/json", "")
		if got := res.Output == `{"a":1}`; got != c.want || !c.want && !strings.Contains(res.Output, "may not fetch from this host") {
			t.Errorf("allowed %v, blocked %v, %s: %+v", c.allowed, c.blocked, c.host, res)
		}
		if err := ts.Close(); err != nil {
			t.Error(err)
		}
	}
	// A redirect leads nowhere else either.
	ts := builtin.NewFetch(builtin.FetchOptions{AllowHosts: []string{addr, "localhost" + port}, Allowed: []string{"localhost"}})
	t.Cleanup(func() { _ = ts.Close() })
	if res := get(t, ts, "http://localhost"+port+"/redirect?to=http://"+addr+"/json", ""); !strings.Contains(res.Output, "may not fetch from this host") {
		t.Errorf("redirect: %+v", res)
	}
}

// Headers go to the host that was named, and to no other.
func TestFetchHeaders(t *testing.T) {
	seen := func(t *testing.T) (*httptest.Server, func() []string) {
		var mu sync.Mutex
		var got []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			got = append(got, r.URL.Path+" "+r.Header.Get("X-Key")+" "+r.Header.Get("User-Agent"))
			mu.Unlock()
			if to := r.URL.Query().Get("to"); to != "" {
				http.Redirect(w, r, to, http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/plain")
		}))
		t.Cleanup(srv.Close)
		return srv, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return got
		}
	}
	one, atOne := seen(t)
	two, atTwo := seen(t)
	ts := builtin.NewFetch(builtin.FetchOptions{
		Version:    "1",
		AllowHosts: []string{one.Listener.Addr().String(), two.Listener.Addr().String()},
		Headers:    map[string]string{"X-Key": "canary", "User-Agent": "mine"},
	})
	t.Cleanup(func() { _ = ts.Close() })
	if res := get(t, ts, one.URL+"/a?to=/b", ""); res.IsError {
		t.Fatalf("%+v", res)
	}
	want := []string{"/robots.txt canary mine", "/a canary mine", "/b canary mine"}
	if !slices.Equal(atOne(), want) {
		t.Errorf("the host that was named got %q, want %q", atOne(), want)
	}
	if res := get(t, ts, one.URL+"/c?to="+two.URL+"/d", ""); res.IsError {
		t.Fatalf("%+v", res)
	}
	for _, line := range atTwo() {
		if strings.Contains(line, "canary") || strings.Contains(line, "mine") {
			t.Errorf("the host that it was redirected to got %q", line)
		}
	}
	if len(atTwo()) != 2 {
		t.Errorf("the other host was asked %d times, want for robots.txt and the page", len(atTwo()))
	}
}
