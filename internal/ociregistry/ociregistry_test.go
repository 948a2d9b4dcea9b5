package ociregistry_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
)

const file = "version: \"2\"\nagents:\n  root:\n    model: openai/gpt-5-mini # a comment\n    instruction: Be a pirate.\n"

// serve starts a registry and returns its address.
func serve(t *testing.T, around func(http.Handler) http.Handler) string {
	t.Helper()
	var h http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if around != nil {
		h = around(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// image is how another program packs a file.
func image(t *testing.T, media types.MediaType, layers ...[]byte) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, data := range layers {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(data, media)); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func put(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

func TestPushAndPull(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	ref := serve(t, nil) + "/acme/pirate:1.0"
	c := ociregistry.New(ociregistry.Options{})
	digest, err := c.Push(t.Context(), ref, "pirate.yaml", []byte(file), ociregistry.Credential{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Pull(t.Context(), ref, ociregistry.Credential{})
	if err != nil || string(got.Source) != file || got.Digest != digest || got.Title != "pirate.yaml" || got.Reference != ref+"@"+digest {
		t.Fatalf("pulled %+v, %v; pushed %s", got, err, digest)
	}
	again, err := c.Push(t.Context(), ref, "pirate.yaml", []byte(file), ociregistry.Credential{})
	if err != nil || again != digest {
		t.Errorf("the same again: %s, %v", again, err)
	}
	// By digest, whatever becomes of the tag.
	if _, err := c.Push(t.Context(), ref, "pirate.yaml", []byte(file+"# two\n"), ociregistry.Credential{}); err != nil {
		t.Fatal(err)
	}
	byDigest := strings.TrimSuffix(ref, ":1.0") + "@" + digest
	if got, err = c.Pull(t.Context(), byDigest, ociregistry.Credential{}); err != nil || string(got.Source) != file || got.Reference != byDigest {
		t.Errorf("by digest: %+v, %v", got, err)
	}

	// Another program reads it as an image with one layer.
	r, err := name.ParseReference(byDigest)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers %v, %v", layers, err)
	}
	if _, err := layers[0].DiffID(); err != nil {
		t.Errorf("diff id: %v", err)
	}
	body, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(body); err != nil || string(text) != file {
		t.Errorf("another program read %q, %v", text, err)
	}
}

func TestPullForms(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	host := serve(t, nil)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(file)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var bomb bytes.Buffer
	z = gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	tar := make([]byte, 1024)
	copy(tar[257:], "ustar")
	for tag, c := range map[string]struct {
		img v1.Image
		say string // of the refusal
	}{
		"cagent":     {image(t, types.OCIUncompressedLayer, []byte(file)), ""},
		"gzip":       {image(t, types.OCILayer, packed.Bytes()), ""},
		"two":        {image(t, types.OCIUncompressedLayer, []byte(file), []byte("x")), "2 layers"},
		"none":       {empty.Image, "0 layers"},
		"tar":        {image(t, types.OCIUncompressedLayer, tar), "archive"},
		"too-large":  {image(t, types.OCIUncompressedLayer, make([]byte, 2<<20)), "at most"},
		"gzip-bomb":  {image(t, types.OCILayer, bomb.Bytes()), "too large"},
		"docker-old": {mutate.MediaType(image(t, types.DockerUncompressedLayer, []byte(file)), types.DockerManifestSchema2), ""},
	} {
		ref := host + "/x/y:" + tag
		put(t, ref, c.img)
		got, err := ociregistry.New(ociregistry.Options{}).Pull(t.Context(), ref, ociregistry.Credential{})
		switch {
		case c.say == "" && (err != nil || string(got.Source) != file):
			t.Errorf("%s: %+v, %v", tag, got, err)
		case c.say != "" && (holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.PublicMessage(err), c.say)):
			t.Errorf("%s: %v, want a refusal with %q", tag, err, c.say)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	var lie, closed bool
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, pass, _ := r.BasicAuth()
			switch {
			case closed:
				w.WriteHeader(http.StatusInternalServerError)
			case user != "me" || pass != "secret-word":
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
			case lie && strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet:
				_, _ = io.WriteString(w, strings.Repeat("x", len(file)))
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	ref, me := host+"/a/b:c", ociregistry.Credential{Username: "me", Password: "secret-word"}
	c := ociregistry.New(ociregistry.Options{})
	if _, err := c.Push(t.Context(), ref, "b.yaml", []byte(file), me); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pull(t.Context(), ref, me); err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error, code holdfast.Code, say string) {
		t.Helper()
		if holdfast.CodeOf(err) != code || !strings.Contains(holdfast.PublicMessage(err), say) {
			t.Errorf("%s: %v, want %s with %q", what, err, code, say)
		}
		if err != nil && strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: the error has the password: %v", what, err)
		}
	}
	_, err := c.Pull(t.Context(), ref, ociregistry.Credential{})
	check("no credentials", err, holdfast.CodeUpstream, "credentials")
	_, err = c.Pull(t.Context(), host+"/a/b:other", me)
	check("no such tag", err, holdfast.CodeUpstream, "no such")
	_, err = ociregistry.New(ociregistry.Options{Hosted: true}).Pull(t.Context(), ref, me)
	check("hosted", err, holdfast.CodeInvalid, "public address")
	lie = true
	_, err = c.Pull(t.Context(), ref, me)
	check("other bytes than promised", err, holdfast.CodeUpstream, "not what it says")
	closed = true
	_, err = c.Pull(t.Context(), ref, me)
	check("failing registry", err, holdfast.CodeUpstream, "status 500")
	_, err = c.Push(t.Context(), ref, "b.yaml", []byte(file), me)
	check("failing registry", err, holdfast.CodeUpstream, "status 500")
	_, err = c.Push(t.Context(), host+"/a/b@sha256:"+strings.Repeat("0", 64), "b.yaml", []byte(file), me)
	check("push to a digest", err, holdfast.CodeInvalid, "tag")
	for _, bad := range []string{"", "UPPER/case", "a b", host + "/", "http://x/y", "a/b:c:d"} {
		_, err = c.Pull(t.Context(), bad, me)
		check(bad, err, holdfast.CodeInvalid, "reference")
	}
}

func TestReference(t *testing.T) {
	for text, want := range map[string]string{
		"pirate":                 "docker.io/library/pirate:latest",
		"acme/pirate:1":          "docker.io/acme/pirate:1",
		"docker.io/pirate":       "docker.io/library/pirate:latest",
		"ghcr.io/acme/pirate":    "ghcr.io/acme/pirate:latest",
		"localhost/a":            "localhost/a:latest",
		"127.0.0.1:5000/a/b/c:d": "127.0.0.1:5000/a/b/c:d",
	} {
		if ref, err := ociregistry.Reference(text); err != nil || ref.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, ref, err, want)
		}
	}
}
