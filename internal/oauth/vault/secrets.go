package vault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// MaxSecret is the most bytes of a secret's value.
const MaxSecret = 64 << 10

// MaxSecrets is the most secrets of a tenant, one of each user among them.
const MaxSecrets = 10_000

// secretName is what agent files can name, ${env.NAME} and token_key, and what is
// made of names with {user} in them: users have '-' in their names.
var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,254}$`)

// UserInName stands for the session's user in the name of a secret.
const UserInName = "{user}"

// CheckSecretName checks the name of a secret, with or without [UserInName].
func CheckSecretName(name string) error {
	if !secretName.MatchString(strings.ReplaceAll(name, UserInName, "u")) {
		return holdfast.Errorf(holdfast.CodeInvalid, "a secret's name has letters, digits, '_' and '-', begins with a letter or '_', and has 255 characters at most")
	}
	return nil
}

// SecretOfUser is the name of a user's secret: name with [UserInName] replaced.
func SecretOfUser(name, user string) (string, error) {
	if !strings.Contains(name, UserInName) {
		return name, nil
	}
	if user == "" {
		return "", holdfast.Errorf(holdfast.CodeUnauthorized, "the secret %s is one of each user, and the session has none", name)
	}
	own := strings.ReplaceAll(name, UserInName, user)
	if !secretName.MatchString(own) {
		return "", holdfast.Errorf(holdfast.CodeUnauthorized, "the secret %s of the session's user would have a name that no secret can have", name)
	}
	return own, nil
}

// SecretInfo is a secret without its value, which nothing gives back.
type SecretInfo struct {
	Name    string
	Created time.Time
	Updated time.Time
}

// PutSecret stores a tenant's secret, replacing the one of the same name.
func (v *Vault) PutSecret(ctx context.Context, tenant, name, value string) error {
	if strings.Contains(name, UserInName) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s stands for a user in the names of secrets; put the user's name in its place", UserInName)
	}
	if err := CheckSecretName(name); err != nil {
		return err
	}
	if value == "" || len(value) > MaxSecret {
		return holdfast.Errorf(holdfast.CodeInvalid, "a secret's value has 1 to %d bytes", MaxSecret)
	}
	if err := v.roomFor(ctx, tenant, KindSecret, name, MaxSecrets); err != nil {
		return err
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

// roomFor refuses a new entry of a tenant that has as many as it may. Two at the
// same time may both be the last one.
func (v *Vault) roomFor(ctx context.Context, tenant, kind, id string, most int) error {
	_, err := v.store.Entry(ctx, tenant, kind, id)
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("look for %s %s: %w", kind, id, err)
	}
	list, err := v.store.Entries(ctx, tenant, kind, "")
	if err != nil {
		return fmt.Errorf("count the entries of kind %s: %w", kind, err)
	}
	if len(list) >= most {
		return holdfast.Errorf(holdfast.CodeRateLimited, "there are %d of kind %s already, which is the limit; delete some that are not needed", len(list), kind)
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
