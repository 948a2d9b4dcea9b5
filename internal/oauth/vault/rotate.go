package vault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rotation says what [Vault.Rotate] did.
type Rotation struct {
	Tenants int
	// Wrapped counts data keys that were wrapped anew, Added new ones, Removed those
	// that nothing was sealed with any more.
	Wrapped, Added, Removed int
	// Sealed counts entries that were sealed with a newer data key.
	Sealed int
}

const (
	rotateBatch = 200
	// retireAfter is how long a data key stays after a newer one came: every process
	// has noticed by then, and no flow is sealed with it.
	retireAfter = 20 * time.Minute
)

// Rotate wraps the data keys of all tenants with the newest key-encryption key.
// With dataKeys it first gives each tenant a new data key and seals its entries
// with it; the old data key goes with a later Rotate, when nothing needs it. It may
// be ended at any point and run again, beside everything that uses the vault.
func (v *Vault) Rotate(ctx context.Context, dataKeys bool) (Rotation, error) {
	var r Rotation
	after := ""
	for {
		tenants, err := v.store.KeyTenants(ctx, after, rotateBatch)
		if err != nil {
			return r, fmt.Errorf("rotate the vault: %w", err)
		}
		for _, t := range tenants {
			if err := v.rotate(ctx, t, dataKeys, &r); err != nil {
				return r, fmt.Errorf("rotate the vault of tenant %s: %w", t, err)
			}
			r.Tenants++
			after = t
		}
		if len(tenants) < rotateBatch {
			return r, nil
		}
	}
}

func (v *Vault) rotate(ctx context.Context, tenant string, dataKeys bool, r *Rotation) error {
	list, err := v.store.DataKeys(ctx, tenant)
	if err != nil || len(list) == 0 {
		return err
	}
	if dataKeys {
		if err := v.addDataKey(ctx, tenant, list[0].Version+1); err != nil {
			return err
		}
		r.Added++
	}
	v.forget(tenant)
	used, err := v.reseal(ctx, tenant, r)
	if err != nil {
		return err
	}
	if list, err = v.store.DataKeys(ctx, tenant); err != nil {
		return err
	}
	for i, k := range list {
		if i > 0 && !used[k.Version] && v.now().Sub(list[i-1].Created) > retireAfter {
			if err := v.store.DeleteDataKey(ctx, tenant, k.Version); err != nil {
				return err
			}
			r.Removed++
			continue
		}
		if k.KeyID == v.keys.Current() {
			continue
		}
		plain, err := v.keys.Unwrap(ctx, tenant, k.KeyID, k.Wrapped)
		if err != nil {
			return err
		}
		old := k.KeyID
		if k.KeyID, k.Wrapped, err = v.keys.Wrap(ctx, tenant, plain); err != nil {
			return err
		}
		if err := v.store.RewrapDataKey(ctx, k, old); err != nil {
			return err
		}
		r.Wrapped++
	}
	v.forget(tenant)
	return nil
}

// reseal seals all entries with the newest data key and returns the versions that
// entries are sealed with nevertheless, because they changed meanwhile.
func (v *Vault) reseal(ctx context.Context, tenant string, r *Rotation) (map[int64]bool, error) {
	c, err := v.dataKeys(ctx, tenant, 0)
	if err != nil {
		return nil, err
	}
	used := map[int64]bool{c.newest: true}
	kind, id := "", ""
	for {
		entries, err := v.store.SealedEntries(ctx, tenant, kind, id, rotateBatch)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			kind, id = e.Kind, e.ID
			if len(e.Sealed) < headLength || keyVersion(e.Sealed) == c.newest {
				continue
			}
			plain, err := v.Open(ctx, tenant, e.Kind, e.ID, e.Sealed)
			if err != nil {
				return nil, err
			}
			sealed, err := v.Seal(ctx, tenant, e.Kind, e.ID, plain)
			if err != nil {
				return nil, err
			}
			switch err := v.store.ResealEntry(ctx, e, sealed); {
			case errors.Is(err, ErrConflict):
				used[keyVersion(e.Sealed)] = true // perhaps; the next rotation sees
			case err != nil:
				return nil, err
			default:
				r.Sealed++
			}
		}
		if len(entries) < rotateBatch {
			return used, nil
		}
	}
}
