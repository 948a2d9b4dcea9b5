package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/internal/oauth"
)

// KindRetired is the kind of grants that nobody uses any more and whose server has
// not been told yet. The name is stored and never changes.
const KindRetired = "retired"

// Retired is a grant that was taken out of use.
type Retired struct {
	// ID names it within its tenant; it is none of a connection.
	ID    string
	Grant oauth.Grant
}

// Retire takes the grant of the given version out of use, in such a way that its
// server can be told as often as that takes. [oauth.ErrConflict] if the version is
// another by now.
func (s Grants) Retire(ctx context.Context, key oauth.GrantKey, g oauth.Grant, version int64) error {
	plain, err := g.MarshalSecret()
	if err != nil {
		return fmt.Errorf("encode a grant: %w", err)
	}
	id := fmt.Sprintf("%s-%d", grantID(key), version)
	sealed, err := s.v.Seal(ctx, key.Tenant, KindRetired, id, plain)
	if err != nil {
		return err
	}
	// First: a process that ends between the two has lost nothing, and is asked again.
	e := Entry{Tenant: key.Tenant, Kind: KindRetired, ID: id, Owner: key.User, Label: g.Issuer, Sealed: sealed}
	if _, err := s.v.store.PutEntry(ctx, e, AnyVersion); err != nil {
		return fmt.Errorf("retire a grant: %w", err)
	}
	if err := s.Delete(ctx, key, version); err != nil {
		return errors.Join(err, s.Forget(ctx, key.Tenant, id))
	}
	return nil
}

// Retired returns the grants of a connection, by the id that it has in lists, whose
// server has not been told that they ended.
func (s Grants) Retired(ctx context.Context, tenant, connection string) ([]Retired, error) {
	list, err := s.v.store.Entries(ctx, tenant, KindRetired, "")
	if err != nil {
		return nil, fmt.Errorf("list retired grants: %w", err)
	}
	var out []Retired
	for _, l := range list {
		if !strings.HasPrefix(l.ID, connection+"-") {
			continue
		}
		e, err := s.v.store.Entry(ctx, tenant, KindRetired, l.ID)
		if errors.Is(err, ErrNotFound) {
			continue // forgotten meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read a retired grant: %w", err)
		}
		plain, err := s.v.Open(ctx, tenant, KindRetired, l.ID, e.Sealed)
		if err != nil {
			return nil, err
		}
		r := Retired{ID: l.ID}
		if err := r.Grant.UnmarshalSecret(plain); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Forget removes a retired grant. None is no error.
func (s Grants) Forget(ctx context.Context, tenant, id string) error {
	err := s.v.store.DeleteEntry(ctx, tenant, KindRetired, id, AnyVersion)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("forget a retired grant: %w", err)
	}
	return nil
}
