package app

import (
	"context"
	"log/slog"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// withVault opens the configured database and vault for one command.
func withVault(ctx context.Context, cfg config.Config, fn func(v *vault.Vault) error) (err error) {
	p := &program{cfg: cfg.WithDefaults(), log: slog.Default()}
	defer func() {
		if serr := p.stop(); err == nil {
			err = serr
		}
	}()
	local, _, err := p.oauthKeys()
	if err != nil {
		return err
	}
	if local == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "HOLDFAST_VAULT_KEYS is not set")
	}
	if err := p.openStore(ctx); err != nil {
		return err
	}
	return fn(vault.New(p.store, local))
}

// RotateVault wraps all data keys with the newest key; see [vault.Vault.Rotate].
func RotateVault(ctx context.Context, cfg config.Config, dataKeys bool) (r vault.Rotation, err error) {
	err = withVault(ctx, cfg, func(v *vault.Vault) error {
		r, err = v.Rotate(ctx, dataKeys)
		return err
	})
	return r, err
}

// EraseVault deletes everything that the vault has of a tenant.
func EraseVault(ctx context.Context, cfg config.Config, tenant string) error {
	return withVault(ctx, cfg, func(v *vault.Vault) error { return v.Erase(ctx, tenant) })
}
