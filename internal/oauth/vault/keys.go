package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// KeyLength is the length of every key here: AES-256.
const KeyLength = 32

// KeyEncryption wraps the data keys of tenants. [LocalKeys] does so with keys in
// memory; a key management service does it with keys that never leave it. Each
// method may be called by many goroutines.
type KeyEncryption interface {
	// Current returns the id of the key that Wrap uses.
	Current() string
	// Wrap encrypts a tenant's data key. The tenant is bound to the result.
	Wrap(ctx context.Context, tenant string, dataKey []byte) (keyID string, wrapped []byte, err error)
	// Unwrap decrypts what Wrap made with any key that is still there.
	Unwrap(ctx context.Context, tenant, keyID string, wrapped []byte) ([]byte, error)
}

// LocalKeys are key-encryption keys from a file or the environment. The first one
// wraps, all of them unwrap.
type LocalKeys struct {
	ids  []string
	aead map[string]cipher.AEAD
}

var _ KeyEncryption = (*LocalKeys)(nil)

// NamedKey is a key with the id under which it is known.
type NamedKey struct {
	ID     string
	Secret []byte
}

// ParseKeys reads keys in the form id:base64, the base64 being of 32 random bytes
// or more. Errors have CodeInvalid and name an entry by its place, never its text.
func ParseKeys(list []string) ([]NamedKey, error) {
	var keys []NamedKey
	for i, item := range list {
		id, text, ok := strings.Cut(strings.TrimSpace(item), ":")
		if !ok || holdfast.ValidateID("id", id) != nil || len(id) > 32 {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "key %d: want id:base64, the id of letters, digits, '-' and '_', 32 at most", i+1)
		}
		secret, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "="))
		if err != nil || len(secret) < KeyLength {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "key %d (%s): want the base64 of %d random bytes; make one with: openssl rand -base64 32", i+1, id, KeyLength)
		}
		keys = append(keys, NamedKey{ID: id, Secret: secret})
	}
	return keys, nil
}

// NewLocalKeys returns keys of exactly 32 bytes each; the first one wraps.
func NewLocalKeys(keys ...NamedKey) (*LocalKeys, error) {
	if len(keys) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the vault has no key")
	}
	l := &LocalKeys{aead: map[string]cipher.AEAD{}}
	for i, k := range keys {
		if len(k.Secret) != KeyLength {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "vault key %d (%s) has %d bytes, want %d", i+1, k.ID, len(k.Secret), KeyLength)
		}
		if l.aead[k.ID] != nil || k.ID == "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "vault key %d: its id %q is empty or not the only one", i+1, k.ID)
		}
		aead, err := newAEAD(k.Secret)
		if err != nil {
			return nil, err
		}
		l.ids, l.aead[k.ID] = append(l.ids, k.ID), aead
	}
	return l, nil
}

// Current implements [KeyEncryption].
func (l *LocalKeys) Current() string { return l.ids[0] }

// Wrap implements [KeyEncryption].
func (l *LocalKeys) Wrap(_ context.Context, tenant string, dataKey []byte) (string, []byte, error) {
	id := l.ids[0]
	return id, seal(l.aead[id], nil, dataKey, bound("data key", tenant, id)), nil
}

// Unwrap implements [KeyEncryption].
func (l *LocalKeys) Unwrap(_ context.Context, tenant, keyID string, wrapped []byte) ([]byte, error) {
	aead, ok := l.aead[keyID]
	if !ok {
		return nil, fmt.Errorf("unwrap the data key of tenant %s: there is no vault key %q any more", tenant, keyID)
	}
	plain, err := open(aead, wrapped, bound("data key", tenant, keyID))
	if err != nil {
		return nil, fmt.Errorf("unwrap the data key of tenant %s: %w", tenant, err)
	}
	return plain, nil
}

// KeyFile returns the keys in a file, one id:base64 a line. If there is no such
// file it is made with one new key, with mode 0600 before anything is in it, and
// complete or not at all. A file that others may read is refused.
func KeyFile(path string) ([]NamedKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := createKeyFile(path); err != nil {
			return nil, fmt.Errorf("make the key file %s: %w", path, err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the key file %s has mode %04o: others may read it; chmod 600", path, info.Mode().Perm())
	}
	keys, err := ParseKeys(strings.Fields(string(text)))
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return keys, nil
}

func createKeyFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after the link there is another name
	secret := make([]byte, KeyLength)
	rand.Read(secret) // never fails
	_, err = fmt.Fprintf(f, "k1:%s\n", base64.StdEncoding.EncodeToString(secret))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link does not replace what another process has made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return aead, nil
}

// seal appends nonce and ciphertext to head. A random nonce of 96 bits is safe
// for 2^32 texts of one key (NIST SP 800-38D section 8.3), far more than a tenant
// has secrets.
func seal(aead cipher.AEAD, head, plain, identity []byte) []byte {
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce) // never fails
	return aead.Seal(append(head, nonce...), nonce, plain, identity)
}

var errSealed = errors.New("it was changed, moved, or sealed with another key")

func open(aead cipher.AEAD, sealed, identity []byte) ([]byte, error) {
	if len(sealed) < aead.NonceSize() {
		return nil, errSealed
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], identity)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// bound is associated data of parts, each with its length.
func bound(parts ...string) []byte {
	var out []byte
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}
