// Package ociregistry carries agent files to and from OCI registries (OCI
// Distribution Specification 1.1).
//
// What is pushed is an image whose one layer is the file itself, uncompressed:
// the form in which cagent pushes and pulls. What is pulled may be that, or an
// artifact with one layer of any type that holds the file, or several layers of
// which one is titled *.yaml.
//
// It promises that what [Client.Pull] returns fits the digest that it returns,
// byte for byte, that no answer of a registry makes it use more memory than a few
// times [agent.MaxSource], and that credentials go to nobody but the registry that
// they are for and into no error.
package ociregistry

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

const (
	// timeout ends a pull or a push as a whole.
	timeout = 60 * time.Second
	// maxManifest is the most bytes of a manifest that are read.
	maxManifest = 1 << 20
	// dockerHub is where names without a registry are.
	dockerHub = "docker.io"
)

// Options are the settings of a [Client].
type Options struct {
	// Hosted keeps the client to public addresses and https, and from credentials of
	// the machine. Otherwise registries on loopback addresses are spoken to without
	// TLS, as Docker does, and the credentials of `docker login` are used.
	Hosted bool
	// Version is what the User-Agent says. Default "dev".
	Version string
}

// Client speaks to registries. It is safe for concurrent use.
type Client struct {
	opt  Options
	http *http.Client
}

// Credential is who asks; the zero value is nobody in particular.
type Credential struct {
	Username string
	Password string
}

// Pulled is an agent file from a registry.
type Pulled struct {
	Source []byte
	// Reference is where it is from, with the digest of its manifest:
	// docker.io/acme/pirate:1.2@sha256:…
	Reference string
	// Digest is that of the manifest.
	Digest string
	// Title is the file's name, "" if the registry does not know it.
	Title string
}

// New returns a client.
func New(o Options) *Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if o.Hosted {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe
	}
	return &Client{opt: o, http: &http.Client{Transport: &guard{hosted: o.Hosted, next: &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout: 30 * time.Second, MaxIdleConns: 10, MaxResponseHeaderBytes: 64 << 10,
	}}}}
}

// Reference reads what a user writes for an agent in a registry. Names without a
// registry are Docker Hub's. CodeInvalid if it is none.
func Reference(text string) (registry.Reference, error) {
	full := text
	first, rest, slash := strings.Cut(text, "/")
	switch {
	case !slash:
		full = dockerHub + "/library/" + text
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		full = dockerHub + "/" + text
	case first == dockerHub && !strings.Contains(rest, "/"):
		full = dockerHub + "/library/" + rest
	}
	ref, err := registry.ParseReference(full)
	if err != nil || text == "" {
		return registry.Reference{}, holdfast.Errorf(holdfast.CodeInvalid, "%q is no reference to an agent in a registry; want REGISTRY/REPOSITORY:TAG or REPOSITORY@sha256:…", text)
	}
	ref.Reference = cmp.Or(ref.Reference, "latest")
	return ref, nil
}

// repository opens the repository of a reference.
func (c *Client) repository(ref registry.Reference, cred Credential) (*remote.Repository, error) {
	creds := auth.CredentialFunc(func(context.Context, string) (auth.Credential, error) { return auth.EmptyCredential, nil })
	if cred != (Credential{}) {
		creds = auth.StaticCredential(ref.Host(), auth.Credential{Username: cred.Username, Password: cred.Password})
	} else if !c.opt.Hosted {
		store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil {
			return nil, holdfast.WrapError(holdfast.CodeUnavailable, err, "the credentials of docker login cannot be read")
		}
		creds = credentials.Credential(store)
	}
	client := &auth.Client{Client: c.http, Credential: creds}
	client.SetUserAgent("holdfast/" + cmp.Or(c.opt.Version, "dev"))
	return &remote.Repository{
		Client: client, Reference: ref, PlainHTTP: !c.opt.Hosted && isLoopback(ref.Registry), MaxMetadataBytes: maxManifest,
		ManifestMediaTypes: []string{ocispec.MediaTypeImageManifest, dockerManifest},
	}, nil
}

// dockerManifest is the older form of an image's manifest, with the same members.
const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Pull returns the agent file that reference names. Errors have CodeInvalid for
// the reference or for an image that holds no agent file, CodeUpstream for what
// the registry says.
func (c *Client) Pull(ctx context.Context, reference string, cred Credential) (Pulled, error) {
	ref, err := Reference(reference)
	if err != nil {
		return Pulled{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	repo, err := c.repository(ref, cred)
	if err != nil {
		return Pulled{}, err
	}
	desc, rc, err := repo.Manifests().FetchReference(ctx, ref.Reference)
	if err != nil {
		return Pulled{}, failed(err, "pull "+reference)
	}
	raw, err := readBlob(rc, desc, maxManifest)
	if err != nil {
		return Pulled{}, failed(err, "read the manifest of "+reference)
	}
	if desc.MediaType != ocispec.MediaTypeImageManifest && desc.MediaType != dockerManifest {
		return Pulled{}, notAnAgent(reference, "it is "+desc.MediaType+", not one image")
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Pulled{}, failed(err, "read the manifest of "+reference)
	}
	layer, err := pick(reference, m.Layers)
	if err != nil {
		return Pulled{}, err
	}
	if layer.Size > agent.MaxSource {
		return Pulled{}, notAnAgent(reference, fmt.Sprintf("its layer has %d bytes, an agent file has at most %d", layer.Size, agent.MaxSource))
	}
	body, err := repo.Blobs().Fetch(ctx, layer)
	if err != nil {
		return Pulled{}, failed(err, "pull "+reference)
	}
	source, err := readBlob(body, layer, agent.MaxSource)
	if err != nil {
		return Pulled{}, failed(err, "read "+reference)
	}
	if source, err = plain(source); err != nil {
		return Pulled{}, notAnAgent(reference, err.Error())
	}
	where := ref.Registry + "/" + ref.Repository
	if !strings.HasPrefix(ref.Reference, "sha256:") {
		where += ":" + ref.Reference
	}
	return Pulled{
		Source: source, Digest: desc.Digest.String(), Reference: where + "@" + desc.Digest.String(),
		Title: path.Base(cmp.Or(layer.Annotations[ocispec.AnnotationTitle], m.Annotations[ocispec.AnnotationTitle], ".")),
	}, nil
}

// readBlob reads what a descriptor describes and checks its size and digest.
func readBlob(rc io.ReadCloser, desc ocispec.Descriptor, most int64) ([]byte, error) {
	defer rc.Close()
	if desc.Size > most {
		return nil, fmt.Errorf("%d bytes, more than %d", desc.Size, most)
	}
	return content.ReadAll(rc, desc)
}

// pick returns the layer that holds the file.
func pick(reference string, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	if len(layers) == 1 {
		return layers[0], nil
	}
	for _, l := range layers {
		switch path.Ext(l.Annotations[ocispec.AnnotationTitle]) {
		case ".yaml", ".yml":
			return l, nil
		}
	}
	return ocispec.Descriptor{}, notAnAgent(reference, fmt.Sprintf("it has %d layers, none titled *.yaml", len(layers)))
}

// plain takes off the compression that some programs put on every layer.
func plain(source []byte) ([]byte, error) {
	if bytes.HasPrefix(source, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(source))
		if err != nil {
			return nil, errors.New("its layer cannot be unpacked")
		}
		out, err := io.ReadAll(io.LimitReader(z, agent.MaxSource+1))
		if err != nil || len(out) > agent.MaxSource {
			return nil, errors.New("its layer cannot be unpacked, or is too large for an agent file")
		}
		source = out
	}
	if len(source) > 262 && string(source[257:262]) == "ustar" {
		return nil, errors.New("its layer is an archive of files: an image to run, not an agent")
	}
	return source, nil
}

// Push stores an agent file under a tag and returns the digest of its manifest.
// The same file under the same name has the same digest.
func (c *Client) Push(ctx context.Context, reference, name string, source []byte, cred Credential) (string, error) {
	ref, err := Reference(reference)
	if err != nil {
		return "", err
	}
	if ref.ValidateReferenceAsTag() != nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%q names a digest; push to a tag", reference)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	repo, err := c.repository(ref, cred)
	if err != nil {
		return "", err
	}
	// Programs that take the layer for one of an image look its digest up here.
	layerDigest := digest.FromBytes(source)
	config, err := json.Marshal(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layerDigest}}})
	if err != nil {
		return "", fmt.Errorf("encode the configuration of %s: %w", reference, err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: content.NewDescriptorFromBytes(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{content.NewDescriptorFromBytes(ocispec.MediaTypeImageLayer, source)},
	}
	m.Layers[0].Annotations = map[string]string{ocispec.AnnotationTitle: name}
	manifest, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode the manifest of %s: %w", reference, err)
	}
	for _, blob := range []struct {
		desc ocispec.Descriptor
		data []byte
	}{{m.Config, config}, {m.Layers[0], source}} {
		has, err := repo.Blobs().Exists(ctx, blob.desc)
		if err == nil && !has {
			err = repo.Blobs().Push(ctx, blob.desc, bytes.NewReader(blob.data))
		}
		if err != nil {
			return "", failed(err, "push "+reference)
		}
	}
	desc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	if err := repo.Manifests().PushReference(ctx, desc, bytes.NewReader(manifest), ref.Reference); err != nil {
		return "", failed(err, "push "+reference)
	}
	return desc.Digest.String(), nil
}

func notAnAgent(reference, why string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s holds no agent file: %s", reference, why)
}

// failed says what a registry said, without what is inside of the answer.
func failed(err error, doing string) error {
	var answer *errcode.ErrorResponse
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		return holdfast.WrapError(holdfast.CodeInvalid, err, doing+": the registry is not at a public address")
	case errors.Is(err, errPlain):
		return holdfast.WrapError(holdfast.CodeUpstream, err, doing+": the registry leads to an address without TLS")
	case errors.Is(err, errdef.ErrNotFound):
		return holdfast.WrapError(holdfast.CodeUpstream, err, doing+": the registry has no such repository, tag or digest, or does not show it without credentials")
	case errors.Is(err, auth.ErrBasicCredentialNotFound), errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return holdfast.WrapError(holdfast.CodeUpstream, err, doing+": the registry wants other credentials")
	case errors.As(err, &answer):
		return holdfast.WrapError(holdfast.CodeUpstream, err, fmt.Sprintf("%s: the registry answers with status %d", doing, answer.StatusCode))
	case errors.Is(err, context.DeadlineExceeded):
		return holdfast.WrapError(holdfast.CodeTimeout, err, doing+": the registry did not answer in time")
	case errors.Is(err, context.Canceled):
		return holdfast.WrapError(holdfast.CodeCanceled, err, doing+": canceled")
	}
	return holdfast.WrapError(holdfast.CodeUpstream, err, doing+": the registry cannot be reached, or what it sends is not what it says")
}
