package egress_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func guard(t *testing.T, p egress.Policy) *http.Client {
	t.Helper()
	g := egress.New(p)
	t.Cleanup(g.Close)
	return &http.Client{Transport: g}
}

func server(t *testing.T, h http.HandlerFunc) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, strings.TrimPrefix(s.URL, "http://")
}

func get(t *testing.T, c *http.Client, at string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestAddressesOfTheInsideAreRefused(t *testing.T) {
	c := guard(t, egress.Policy{AllowHTTP: true, DialTimeout: time.Second})
	for _, host := range []string{
		"127.0.0.1", "127.8.8.8", "localhost", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1",
		"240.0.0.1", "255.255.255.255",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"[64:ff9b::808:808]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001::1]", "[2001:db8::1]", "[fe80::1]", "[fc00::1]",
		"[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[100::1]", "[3fff::1]", "[5f00::1]",
	} {
		for _, scheme := range []string{"http", "https"} {
			_, err := get(t, c, scheme+"://"+host+":9/")
			if !errors.Is(err, egress.ErrRefused) {
				t.Errorf("%s://%s: %v", scheme, host, err)
			}
			if holdfast.CodeOf(err) != holdfast.CodeInvalid {
				t.Errorf("%s: code %s", host, holdfast.CodeOf(err))
			}
		}
	}
}

// A name that is checked in one moment and resolves to something else in the
// next is what the check at the connection is for; "localhost" is one that only
// DNS knows to be this machine.
func TestWhatANameResolvesToIsNotTold(t *testing.T) {
	_, err := get(t, guard(t, egress.Policy{}), "https://localhost:9/")
	if err == nil || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "::1") {
		t.Errorf("error %v", err)
	}
}

func TestPolicy(t *testing.T) {
	s, at := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy egress.Policy
		url    string
		ok     bool
	}{
		"nothing allowed":          {egress.Policy{}, s.URL, false},
		"http allowed":             {egress.Policy{AllowHTTP: true}, s.URL, false},
		"this host":                {egress.Policy{AllowHosts: []string{at}}, s.URL, true},
		"this host in upper case":  {egress.Policy{AllowHosts: []string{"localhost:" + port}}, "http://LOCALHOST:" + port, true},
		"another port":             {egress.Policy{AllowHosts: []string{"127.0.0.1:1"}}, s.URL, false},
		"a name for it":            {egress.Policy{AllowHosts: []string{at}}, "http://localhost:" + port, false},
		"this machine":             {egress.Policy{AllowLoopback: true}, s.URL, true},
		"this machine by name":     {egress.Policy{AllowLoopback: true}, "http://localhost:" + port, true},
		"this machine, mapped":     {egress.Policy{AllowLoopback: true}, "http://[::ffff:127.0.0.1]:" + port, true},
		"an address of the inside": {egress.Policy{AllowLoopback: true, AllowHTTP: true}, "http://10.255.255.1:9", false},
		"a user in the URL":        {egress.Policy{AllowLoopback: true}, "http://u:p@" + at, false},
		"another scheme":           {egress.Policy{AllowLoopback: true}, "ftp://" + at, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := get(t, guard(t, c.policy), c.url)
			if c.ok && (err != nil || got != "hello") {
				t.Errorf("%q, %v", got, err)
			}
			if !c.ok && !errors.Is(err, egress.ErrRefused) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestEachHopIsChecked(t *testing.T) {
	inside, _ := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") })
	_, at := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) })
	if got, err := get(t, guard(t, egress.Policy{AllowHosts: []string{at}}), "http://"+at); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	proxy, _ := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	if _, err := get(t, guard(t, egress.Policy{AllowHTTP: true}), "http://192.168.0.1:9"); !errors.Is(err, egress.ErrRefused) {
		t.Error(err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/exact":
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/header":
			for i := range 100 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 4000))
			}
		case "/silent":
			<-r.Context().Done()
		}
	})
	c := guard(t, egress.Policy{AllowLoopback: true, MaxBody: 1000})
	if got, err := get(t, c, s.URL+"/exact"); err != nil || len(got) != 1000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for _, path := range []string{"/endless", "/bomb"} {
		if got, err := get(t, c, s.URL+path); !errors.Is(err, egress.ErrTooLong) || len(got) != 1000 {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	if _, err := get(t, c, s.URL+"/header"); err == nil {
		t.Error("400 kB of headers were taken")
	}
	var ne net.Error
	hasty := guard(t, egress.Policy{AllowLoopback: true, HeaderTimeout: 100 * time.Millisecond})
	if _, err := get(t, hasty, s.URL+"/silent"); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("a silent server: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"https://a.example/", "http://127.0.0.1:80", "http://localhost.:1", "https://[::1%25eth0]/", "http:///x", "https://a@b"} {
		f.Add(s)
	}
	g := egress.New(egress.Policy{})
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err == nil && g.Check(u) == nil && (u.Scheme != "https" || u.User != nil || u.Hostname() == "") {
			t.Errorf("%q was let through", s)
		}
	})
}

// TestNobodyWaitsForAStrangersAnswer: requests that a host keeps open do not hold
// up those that come after them, however many they are.
func TestNobodyWaitsForAStrangersAnswer(t *testing.T) {
	const held = 300
	arrived, release := make(chan struct{}, held), make(chan struct{})
	_, addr := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			arrived <- struct{}{}
			<-release
		}
		fmt.Fprint(w, "done")
	})
	c := guard(t, egress.Policy{AllowHTTP: true, AllowLoopback: true})
	var all sync.WaitGroup
	for range held {
		all.Go(func() {
			if _, err := get(t, c, "http://"+addr+"/held"); err != nil {
				t.Error(err)
			}
		})
	}
	defer all.Wait()
	defer close(release)
	for i := range held {
		select {
		case <-arrived:
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d requests have arrived", i, held)
		}
	}
	if got, err := get(t, c, "http://"+addr+"/"); err != nil || got != "done" {
		t.Errorf("another request: %q, %v", got, err)
	}
}
