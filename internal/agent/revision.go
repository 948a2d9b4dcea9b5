package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Revision is one version of a tenant's own agent file. Revisions are never
// changed: an edit makes the next one, a deletion one that says Deleted, and a
// file that comes back under the same name goes on counting.
type Revision struct {
	// Name is the file's, always with .yaml.
	Name string
	// Number counts from 1 for each tenant and name.
	Number int64
	// Source is the file, byte for byte; nil in lists and for a deletion.
	Source []byte
	// Digest is that of Source ([Digest]), "" for a deletion.
	Digest    string
	CreatedAt time.Time
	// Origin says where the source came from: "put", "edit", "import", "prompt",
	// "pull REFERENCE@DIGEST".
	Origin string
	// Deleted says that from this revision on there is no such file.
	Deleted bool
}

// Store keeps the agent files of tenants. It promises:
//
//   - a revision that PutRevision returned without an error is durable and is
//     what every later call sees. Numbers have no gaps, and of several writers
//     that write after the same number one wins;
//   - sources come back byte for byte;
//   - a tenant sees nothing of another.
//
// All methods are safe for concurrent use. The suite in agenttest checks them.
type Store interface {
	// PutRevision stores r as number after+1, if after is the newest number of that
	// name (0: there is none). If it is not, the error has CodeConflict.
	PutRevision(ctx context.Context, tenant string, r Revision, after int64) error
	// Revision returns one revision with its source; number 0 is the newest, also if
	// that is a deletion. CodeNotFound if there is none.
	Revision(ctx context.Context, tenant, name string, number int64) (Revision, error)
	// Newest returns the newest revision of every file that is not deleted, by name
	// and without sources.
	Newest(ctx context.Context, tenant string) ([]Revision, error)
	// Revisions returns at most limit revisions of a file with numbers below before
	// (0: from the newest on), newest first and without sources. A name that never
	// was has none.
	Revisions(ctx context.Context, tenant, name string, before int64, limit int) ([]Revision, error)
}

// Digest returns the digest of a source as it is shown: sha256: and hex.
func Digest(source []byte) string {
	sum := sha256.Sum256(source)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// plainStem is what the name of a tenant's own file may be without .yaml. An @
// would be taken for a version, a slash for a folder.
var plainStem = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$`)

// FileName returns the full name of a tenant's own file: what was given, with or
// without .yaml or .yml, with .yaml. CodeInvalid for what cannot be one.
func FileName(name string) (string, error) {
	if s := stem(name); plainStem.MatchString(s) {
		return s + ".yaml", nil
	}
	return "", holdfast.Errorf(holdfast.CodeInvalid, "%q cannot be the name of an agent file: letters, digits, '.', '-' and '_', at most 120, beginning with a letter or a digit", shorten(name))
}

// SplitRef takes NAME@3 apart, .yaml before or behind the version. number is 0
// if no version is named.
func SplitRef(ref string) (name string, number int64) {
	base, version, ok := strings.Cut(stem(ref), "@")
	n, err := strconv.ParseInt(version, 10, 64)
	if !ok || err != nil || n < 1 {
		return ref, 0
	}
	return stem(base) + ".yaml", n
}

// JoinRef is the full name of a revision of a file: pirate@3.yaml.
func JoinRef(name string, number int64) string {
	return stem(name) + "@" + strconv.FormatInt(number, 10) + ".yaml"
}
