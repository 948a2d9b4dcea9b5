package agent

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// MaxFiles is the most agent files of a tenant's own.
const MaxFiles = 1000

// Entry is what a list of agents shows of a file.
type Entry struct {
	Summary
	// Version is the number of the tenant's newest revision, 0 for a file of the
	// deployment, which has none.
	Version int64
	// Origin and UpdatedAt are those of the revision; "" and zero for a file of the
	// deployment.
	Origin    string
	UpdatedAt time.Time
}

// File is an agent file with its source. Name is NAME@N.yaml for one that was
// asked for by version.
type File struct {
	Entry
	Source []byte
}

// ETag identifies the version and the content of the file, with its quotes (RFC
// 9110, section 8.8.3).
func (f File) ETag() string {
	return `"` + strconv.FormatInt(f.Version, 10) + "-" + strings.TrimPrefix(Digest(f.Source), "sha256:")[:16] + `"`
}

// Condition is what must be so for a change to happen; the zero value asks for
// nothing.
type Condition struct {
	// Match is the value of If-Match: * or a list of [File.ETag].
	Match string
	// NoneMatch is the value of If-None-Match; only * is understood: there must be
	// no such file.
	NoneMatch string
}

// check returns an error with CodeStale if the condition does not hold. f is nil
// if there is no file.
func (c Condition) check(f *File) error {
	if c.NoneMatch != "" && c.NoneMatch != "*" {
		return holdfast.Errorf(holdfast.CodeInvalid, "If-None-Match: only * is understood")
	}
	switch {
	case c.NoneMatch == "*" && f != nil:
		return holdfast.Errorf(holdfast.CodeStale, "If-None-Match: there is an agent file %s already", f.Name)
	case c.Match == "":
		return nil
	case f == nil:
		return holdfast.Errorf(holdfast.CodeStale, "If-Match: there is no such agent file")
	}
	for tag := range strings.SplitSeq(c.Match, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == f.ETag() {
			return nil
		}
	}
	return holdfast.Errorf(holdfast.CodeStale, "If-Match: the agent file %s is another one now, %s", f.Name, f.ETag())
}

// mayBeDone reports whether a change whose If-Match does not hold may have been
// made already, by the same request whose answer was lost: a file that is what the
// change would make of it is the answer then (RFC 9110, section 13.1.1). own says
// that the tenant has such a file.
func (c Condition) mayBeDone(stale error, own bool) bool {
	return own && c.Match != "" && c.NoneMatch == "" && holdfast.CodeOf(stale) == holdfast.CodeStale
}

// Library is the agent files that tenants may use: for each its own, in
// revisions, above those of the deployment, which all share and none can change.
// A tenant's own file hides one of the deployment with the same name; deleting it
// shows that one again. It is safe for concurrent use.
type Library struct {
	store Store
	base  Source
	opt   Options

	mu    sync.Mutex
	cache map[string]Summary // by name and digest; guarded by mu
	known map[string]File    // by tenant and reference, see FindForRun; guarded by mu
}

// NewLibrary returns the library of what store has above base. store nil is one
// in which nobody can change anything: writing is refused with CodeNotOffered.
func NewLibrary(store Store, base Source, opt Options) *Library {
	return &Library{store: store, base: base, opt: opt, cache: map[string]Summary{}, known: map[string]File{}}
}

// maxSummaries bounds the cache of summaries, which follow from their files.
const maxSummaries = 4096

// summary is that of a file, parsed once.
func (l *Library) summary(name, digest string, source func() ([]byte, error)) (Summary, error) {
	key := name + "\x00" + digest
	l.mu.Lock()
	s, ok := l.cache[key]
	l.mu.Unlock()
	if ok {
		return s, nil
	}
	text, err := source()
	if err != nil {
		return Summary{}, err
	}
	s = summarize(name, text, l.opt)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cache) >= maxSummaries {
		clear(l.cache)
	}
	l.cache[key] = s
	return s, nil
}

func (l *Library) file(r Revision) (File, error) {
	s, err := l.summary(r.Name, r.Digest, func() ([]byte, error) { return r.Source, nil })
	return File{Entry{s, r.Number, r.Origin, r.CreatedAt}, r.Source}, err
}

// List returns all files of the tenant and of the deployment, by name.
func (l *Library) List(ctx context.Context, tenant string) ([]Entry, error) {
	var own []Revision
	var err error
	if l.store != nil {
		if own, err = l.store.Newest(ctx, tenant); err != nil {
			return nil, fmt.Errorf("list the agent files of %s: %w", tenant, err)
		}
	}
	var out []Entry
	mine := map[string]bool{}
	for _, r := range own {
		mine[stem(r.Name)] = true
		s, err := l.summary(r.Name, r.Digest, func() ([]byte, error) {
			r, err := l.store.Revision(ctx, tenant, r.Name, r.Number)
			return r.Source, err
		})
		if err != nil {
			return nil, fmt.Errorf("read agent file %s: %w", r.Name, err)
		}
		out = append(out, Entry{s, r.Number, r.Origin, r.CreatedAt})
	}
	base, err := l.base.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range base {
		if !mine[stem(s.Name)] {
			out = append(out, Entry{Summary: s})
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Find returns the file that a reference means: NAME, with or without .yaml, or
// NAME@N for version N of a tenant's own. CodeNotFound lists what there is.
func (l *Library) Find(ctx context.Context, tenant, ref string) (File, error) {
	if err := checkRef(ref); err != nil {
		return File{}, err
	}
	f, err := l.find(ctx, tenant, ref)
	if holdfast.CodeOf(err) != holdfast.CodeNotFound {
		return f, err
	}
	list, lerr := l.List(ctx, tenant)
	if lerr != nil {
		return File{}, lerr
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name
	}
	return File{}, unknown(ref, names)
}

// find is Find whose CodeNotFound lists nothing.
func (l *Library) find(ctx context.Context, tenant, ref string) (File, error) {
	name, number := SplitRef(ref)
	if full, err := FileName(name); err == nil && l.store != nil {
		r, err := l.store.Revision(ctx, tenant, full, number)
		switch {
		case err == nil && !r.Deleted:
			f, err := l.file(r)
			if number > 0 {
				f.Name = JoinRef(full, number)
			}
			return f, err
		case err != nil && holdfast.CodeOf(err) != holdfast.CodeNotFound:
			return File{}, err
		}
	}
	full, source, err := l.base.Load(ctx, ref)
	if err != nil {
		return File{}, err
	}
	s, err := l.summary(full, Digest(source), func() ([]byte, error) { return source, nil })
	return File{Entry{Summary: s}, source}, err
}

// Check parses a source as the file of that name would be, with the rules of the
// deployment. The error is a [*FileError] or has CodeInvalid for the name.
func (l *Library) Check(name string, source []byte) (*Team, error) {
	return Parse(name, source, l.opt)
}

// errReadOnly refuses what needs a store.
func (l *Library) errReadOnly() error {
	if l.store == nil {
		return holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: changing agent files through the API; change the files")
	}
	return nil
}

// maxAttempts is how often a change without a condition is tried against others
// that write at the same time.
const maxAttempts = 10

// change stores the next revision of a file. next makes it from what is there,
// nil if nothing is; own says that it is the tenant's. A nil source is a deletion.
func (l *Library) change(ctx context.Context, tenant, name, origin string, c Condition, next func(now *File, own bool) ([]byte, error)) (f File, created bool, err error) {
	if err := l.errReadOnly(); err != nil {
		return File{}, false, err
	}
	if name, err = FileName(name); err != nil {
		return File{}, false, err
	}
	for attempt := 1; ; attempt++ {
		f, created, err = l.changeOnce(ctx, tenant, name, origin, c, next)
		if holdfast.CodeOf(err) != holdfast.CodeConflict || attempt == maxAttempts {
			return f, created, err
		}
	}
}

func (l *Library) changeOnce(ctx context.Context, tenant, name, origin string, c Condition, next func(now *File, own bool) ([]byte, error)) (File, bool, error) {
	newest, err := l.store.Revision(ctx, tenant, name, 0)
	if err != nil && holdfast.CodeOf(err) != holdfast.CodeNotFound {
		return File{}, false, err
	}
	own := err == nil && !newest.Deleted
	var now *File
	f, err := l.find(ctx, tenant, name)
	switch {
	case err == nil:
		now = &f
	case holdfast.CodeOf(err) != holdfast.CodeNotFound:
		return File{}, false, err
	}
	stale := c.check(now)
	if stale != nil && !c.mayBeDone(stale, own) {
		return File{}, false, stale
	}
	source, err := next(now, own)
	if stale != nil && (err != nil || source == nil || newest.Digest != Digest(source)) {
		return File{}, false, stale
	}
	if err != nil {
		return File{}, false, err
	}
	r := Revision{Name: name, Number: newest.Number + 1, Source: source, CreatedAt: time.Now().UTC().Truncate(time.Microsecond), Origin: origin, Deleted: source == nil}
	if !r.Deleted {
		if len(source) > MaxSource {
			return File{}, false, holdfast.Errorf(holdfast.CodeTooLarge, "the file has %d bytes; an agent file has at most %d", len(source), MaxSource)
		}
		if _, err := l.Check(name, source); err != nil {
			return File{}, false, err
		}
		r.Digest = Digest(source)
		if own && newest.Digest == r.Digest {
			f, err := l.file(newest)
			return f, false, err // the same again makes no version
		}
		if !own {
			if err := l.room(ctx, tenant); err != nil {
				return File{}, false, err
			}
		}
	}
	if err := l.store.PutRevision(ctx, tenant, r, newest.Number); err != nil {
		return File{}, false, err
	}
	if r.Deleted {
		return File{Entry: Entry{Summary: Summary{Name: name}, Version: r.Number}}, false, nil
	}
	f, err = l.file(r)
	return f, now == nil, err
}

// room refuses a further file of a tenant that has as many as it may.
func (l *Library) room(ctx context.Context, tenant string) error {
	list, err := l.store.Newest(ctx, tenant)
	if err != nil {
		return err
	}
	if len(list) >= MaxFiles {
		return holdfast.Errorf(holdfast.CodeTooLarge, "a tenant has at most %d agent files", MaxFiles)
	}
	return nil
}

// Put stores source as the file of that name. The same source again changes
// nothing. created says that there was no such file before. Errors: a
// [*FileError], CodeInvalid for the name, CodeStale for the condition, CodeTooLarge.
func (l *Library) Put(ctx context.Context, tenant, name string, source []byte, origin string, c Condition) (f File, created bool, err error) {
	return l.change(ctx, tenant, name, origin, c, func(*File, bool) ([]byte, error) {
		return append([]byte{}, source...), nil
	})
}

// Create stores a file that must not be there yet; CodeConflict if it is, unless
// it is this very file: a request that came twice.
func (l *Library) Create(ctx context.Context, tenant, name string, source []byte, origin string) (File, error) {
	f, _, err := l.Put(ctx, tenant, name, source, origin, Condition{NoneMatch: "*"})
	if holdfast.CodeOf(err) == holdfast.CodeStale {
		if now, ferr := l.find(ctx, tenant, stem(name)); ferr == nil && now.Version > 0 && bytes.Equal(now.Source, source) {
			return now, nil
		}
		err = holdfast.Errorf(holdfast.CodeConflict, "there is an agent %q already", stem(name))
	}
	return f, err
}

// Edit merges patch into the file ([Merge]). Of a file of the deployment it makes
// the tenant's own.
func (l *Library) Edit(ctx context.Context, tenant, name string, patch map[string]any, c Condition) (File, error) {
	f, _, err := l.change(ctx, tenant, name, "edit", c, func(now *File, _ bool) ([]byte, error) {
		if now == nil {
			return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q", stem(name))
		}
		return Merge(now.Source, patch)
	})
	return f, err
}

// Delete removes a file of the tenant's own; its versions stay readable.
// CodeForbidden for one of the deployment.
func (l *Library) Delete(ctx context.Context, tenant, name string, c Condition) error {
	_, _, err := l.change(ctx, tenant, name, "delete", c, func(now *File, own bool) ([]byte, error) {
		switch {
		case now == nil:
			return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q", stem(name))
		case !own:
			return nil, holdfast.Errorf(holdfast.CodeForbidden, "agent %q belongs to the deployment and cannot be deleted through the API", stem(name))
		}
		return nil, nil
	})
	return err
}

// Revisions returns versions of a file, newest first: at most limit with numbers
// below before (0: from the newest on). A file of the deployment has none.
func (l *Library) Revisions(ctx context.Context, tenant, name string, before int64, limit int) ([]Revision, error) {
	full, err := FileName(name)
	if err == nil && l.store != nil {
		list, err := l.store.Revisions(ctx, tenant, full, before, limit)
		if err != nil || len(list) > 0 || before > 0 {
			return list, err
		}
	}
	_, err = l.Find(ctx, tenant, name)
	return nil, err
}
