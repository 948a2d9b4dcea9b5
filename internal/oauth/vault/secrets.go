package vault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// MaxSecret is the most bytes of a secret's value.
const MaxSecret = 64 << 10

// secretName is what agent files can name: ${env.NAME}, token_key.
var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// SecretInfo is a secret without its value, which nothing gives back.
type SecretInfo struct {
	Name    string
	Created time.Time
	Updated time.Time
}

// PutSecret stores a tenant's secret, replacing the one of the same name.
func (v *Vault) PutSecret(ctx context.Context, tenant, name, value string) error {
	if !secretName.MatchString(name) {
		return holdfast.Errorf(holdfast.CodeInvalid, "a secret's name has letters, digits and '_', does not begin with a digit, and has 128 characters at most")
	}
	if value == "" || len(value) > MaxSecret {
		return holdfast.Errorf(holdfast.CodeInvalid, "a secret's value has 1 to %d bytes", MaxSecret)
	}
	sealed, err := v.Seal(ctx, tenant, KindSecret, name, []byte(value))
	if err != nil {
		return err
	}
	if _, err := v.store.PutEntry(ctx, Entry{Tenant: tenant, Kind: KindSecret, ID: name, Label: name, Sealed: sealed}, AnyVersion); err != nil {
		return fmt.Errorf("store secret %s: %w", name, err)
	}
	return nil
}

// Secret returns a tenant's secret; ok is false if there is none.
func (v *Vault) Secret(ctx context.Context, tenant, name string) (value string, ok bool, err error) {
	e, err := v.store.Entry(ctx, tenant, KindSecret, name)
	if errors.Is(err, ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read secret %s: %w", name, err)
	}
	plain, err := v.Open(ctx, tenant, KindSecret, name, e.Sealed)
	if err != nil {
		return "", false, err
	}
	return string(plain), true, nil
}

// Secrets lists a tenant's secrets by name.
func (v *Vault) Secrets(ctx context.Context, tenant string) ([]SecretInfo, error) {
	list, err := v.store.Entries(ctx, tenant, KindSecret, "")
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	out := make([]SecretInfo, len(list))
	for i, e := range list {
		out[i] = SecretInfo{Name: e.ID, Created: e.Created, Updated: e.Updated}
	}
	return out, nil
}

// DeleteSecret removes a secret. Unknown: an error with CodeNotFound.
func (v *Vault) DeleteSecret(ctx context.Context, tenant, name string) error {
	err := v.store.DeleteEntry(ctx, tenant, KindSecret, name, AnyVersion)
	if errors.Is(err, ErrNotFound) {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no secret %q", name)
	}
	if err != nil {
		return fmt.Errorf("delete secret %s: %w", name, err)
	}
	return nil
}
