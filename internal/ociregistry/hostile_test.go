package ociregistry_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
)

func sum(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
	layerType = "application/vnd.oci.image.layer.v1.tar"
)

type layerOf map[string]any

// liar is a registry that says what a test wants of it.
type liar struct {
	mu       sync.Mutex
	manifest []byte
	media    string // of the manifest; "" is an image
	claims   string // Docker-Content-Digest; "" is the true one
	blobs    map[string][]byte
	before   func(w http.ResponseWriter, r *http.Request) (done bool)
	seen     []string // Authorization of each request
	addr     string
}

func newLiar(t *testing.T) *liar {
	t.Helper()
	l := &liar{blobs: map[string][]byte{}}
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	l.addr = strings.TrimPrefix(s.URL, "http://")
	return l
}

// holds makes the registry hold an image with these layers.
func (l *liar) holds(t *testing.T, layers ...layerOf) {
	t.Helper()
	if layers == nil {
		layers = []layerOf{}
	}
	m, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": imageType,
		"config": layerOf{"mediaType": "application/vnd.oci.empty.v1+json", "digest": sum([]byte("{}")), "size": 2}, "layers": layers,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.manifest = m
}

// layer keeps a blob and returns what describes it.
func (l *liar) layer(data []byte) layerOf {
	l.blobs[sum(data)] = data
	return layerOf{"mediaType": layerType, "digest": sum(data), "size": len(data)}
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, r.Header.Get("Authorization"))
	if l.before != nil && l.before(w, r) {
		return
	}
	_, id, blob := strings.Cut(r.URL.Path, "/blobs/")
	switch {
	case blob && l.blobs[id] != nil:
		_, _ = w.Write(l.blobs[id])
	case strings.Contains(r.URL.Path, "/manifests/"):
		media := l.media
		if media == "" {
			media = imageType
		}
		w.Header().Set("Content-Type", media)
		digest := l.claims
		if digest == "" {
			digest = sum(l.manifest)
		}
		w.Header().Set("Docker-Content-Digest", digest)
		_, _ = w.Write(l.manifest)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A registry that lies about what it has, in every member, is refused, and what is
// returned is what the digest says.
func TestRegistryThatLies(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	other := []byte("agents: {root: {model: evil/model}}\n")
	change := func(l layerOf, key string, value any) layerOf { l[key] = value; return l }
	me := ociregistry.Credential{Username: "me", Password: "secret-word"}
	for name, c := range map[string]struct {
		does func(l *liar)
		code holdfast.Code // "" is a success
	}{
		"the truth": {func(l *liar) { l.holds(t, l.layer([]byte(file))) }, ""},
		"other bytes, same length": {func(l *liar) {
			l.holds(t, l.layer([]byte(file)))
			l.blobs[sum([]byte(file))] = bytes.Repeat([]byte("x"), len(file))
		}, holdfast.CodeUpstream},
		"more bytes than said": {func(l *liar) {
			l.holds(t, l.layer([]byte(file)))
			l.blobs[sum([]byte(file))] = []byte(file + "more: 1\n")
		}, holdfast.CodeUpstream},
		"fewer bytes than said":    {func(l *liar) { l.holds(t, l.layer([]byte(file))); l.blobs[sum([]byte(file))] = []byte(file[:40]) }, holdfast.CodeUpstream},
		"a size that is too small": {func(l *liar) { l.holds(t, change(l.layer([]byte(file)), "size", 10)) }, holdfast.CodeUpstream},
		"a size below zero":        {func(l *liar) { l.holds(t, change(l.layer([]byte(file)), "size", -1)) }, holdfast.CodeUpstream},
		"a size of exabytes":       {func(l *liar) { l.holds(t, change(l.layer([]byte(file)), "size", int64(1)<<62)) }, holdfast.CodeInvalid},
		"a digest that is none":    {func(l *liar) { l.holds(t, change(l.layer([]byte(file)), "digest", "sha256:../../etc")) }, holdfast.CodeUpstream},
		"a digest of another kind": {func(l *liar) {
			l.holds(t, change(l.layer([]byte(file)), "digest", "md5:d41d8cd98f00b204e9800998ecf8427e"))
		}, holdfast.CodeUpstream},
		"no digest":                 {func(l *liar) { l.holds(t, change(l.layer([]byte(file)), "digest", "")) }, holdfast.CodeUpstream},
		"no layer":                  {func(l *liar) { l.holds(t) }, holdfast.CodeInvalid},
		"another manifest's digest": {func(l *liar) { l.holds(t, l.layer([]byte(file))); l.claims = sum(other) }, holdfast.CodeUpstream},
		"a manifest of 2 MiB":       {func(l *liar) { l.manifest = append([]byte(`{"layers":[]`), bytes.Repeat([]byte(" "), 2<<20)...) }, holdfast.CodeUpstream},
		"a manifest that is cut":    {func(l *liar) { l.manifest = []byte(`{"schemaVersion":2,"layers":[{`) }, holdfast.CodeUpstream},
		"a manifest that is a page": {func(l *liar) { l.manifest, l.media = []byte("<html>"), "text/html" }, holdfast.CodeInvalid},
		"an index":                  {func(l *liar) { l.manifest, l.media = []byte(`{"manifests":[]}`), indexType }, holdfast.CodeInvalid},
		"an index of itself": {func(l *liar) {
			l.manifest, l.media = []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+indexType+`","digest":"`+sum(nil)+`","size":0}]}`), indexType
		}, holdfast.CodeInvalid},
		"a bomb": {func(l *liar) { l.holds(t, l.layer(gzipped(t, make([]byte, 4<<20)))) }, holdfast.CodeInvalid},
		"a bomb in a bomb": {func(l *liar) {
			l.holds(t, l.layer(gzipped(t, gzipped(t, make([]byte, 4<<20)))))
		}, ""}, // taken off once: what remains is no agent file, which the check of agent files says
		"half a gzip": {func(l *liar) { l.holds(t, l.layer(gzipped(t, []byte(file))[:30])) }, holdfast.CodeInvalid},
		"a redirect to itself": {func(l *liar) {
			l.before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
		}, holdfast.CodeUpstream},
		"a redirect to a file": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Location", "file:///etc/passwd")
				w.WriteHeader(http.StatusFound)
				return true
			}
		}, holdfast.CodeUpstream},
		"a redirect out of TLS": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Location", "http://registry.example/v2/")
				w.WriteHeader(http.StatusFound)
				return true
			}
		}, holdfast.CodeUpstream},
		"a realm out of TLS": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.example/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
		}, holdfast.CodeUpstream},
		"a challenge for ever": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
		}, holdfast.CodeUpstream},
		"headers without an end": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				for i := range 200 {
					w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
				}
				return false
			}
		}, holdfast.CodeUpstream},
		"an error of 10 MB": {func(l *liar) {
			l.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"`+strings.Repeat("secret-word ", 1<<20)+`"}]}`)
				return true
			}
		}, holdfast.CodeUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t)
			c.does(l)
			got, err := ociregistry.New(ociregistry.Options{}).Pull(t.Context(), l.addr+"/a/b:1", me)
			switch {
			case c.code == "" && (err != nil || got.Digest != sum(l.manifest) || len(got.Source) > agent.MaxSource):
				t.Errorf("%d bytes, %s, %v", len(got.Source), got.Digest, err)
			case c.code != "" && (holdfast.CodeOf(err) != c.code || got.Source != nil):
				t.Errorf("%.100q, %v; want %s", got.Source, err, c.code)
			}
			if strings.HasSuffix(name, "out of TLS") && !strings.Contains(holdfast.PublicMessage(err), "without TLS") {
				t.Errorf("%v, want why", err)
			}
			if err != nil && strings.Contains(holdfast.PublicMessage(err), "secret-word") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// What was pulled by its digest stays what it is when the registry moves the tag, and
// also when the registry gives something else for the digest.
func TestMovedTag(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	l := newLiar(t)
	c := ociregistry.New(ociregistry.Options{})
	l.holds(t, l.layer([]byte(file)))
	first, err := c.Pull(t.Context(), l.addr+"/a/b:1", ociregistry.Credential{})
	if err != nil {
		t.Fatal(err)
	}
	l.holds(t, l.layer([]byte(file+"# moved\n")))
	second, err := c.Pull(t.Context(), l.addr+"/a/b:1", ociregistry.Credential{})
	if err != nil || second.Digest == first.Digest || second.Reference == first.Reference {
		t.Errorf("the tag was moved: %+v, %v", second, err)
	}
	// The registry answers with the new image to the old digest, with and without
	// saying so.
	pinned := l.addr + "/a/b@" + first.Digest
	for _, claims := range []string{"", first.Digest} {
		l.claims = claims
		if got, err := c.Pull(t.Context(), pinned, ociregistry.Credential{}); holdfast.CodeOf(err) != holdfast.CodeUpstream {
			t.Errorf("another image for a digest: %q, %v", got.Source, err)
		}
	}
}

// Credentials go to the registry that they are for: not to where it redirects, be it
// another port of the same host.
func TestCredentialsStay(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	me := ociregistry.Credential{Username: "me", Password: "secret-word"}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret-word"))
	store, l := newLiar(t), newLiar(t)
	l.holds(t, l.layer([]byte(file)))
	store.blobs = l.blobs
	l.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, "http://"+store.addr+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	got, err := ociregistry.New(ociregistry.Options{}).Pull(t.Context(), l.addr+"/a/b:1", me)
	if err != nil || string(got.Source) != file {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(store.seen) != 1 || store.seen[0] != "" {
		t.Errorf("the store of blobs was sent %q", store.seen)
	}
}
