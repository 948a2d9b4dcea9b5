package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

func vaultCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "vault", Short: "Rotate and erase the keys of tenants' secrets",
		Long: `Keys of the vault, with the configuration of the API and the workers
(HOLDFAST_DATABASE_URL and HOLDFAST_VAULT_KEYS, or --data for the folder of
"holdfast dev"). Everything may go on running meanwhile.`,
	}
	data := c.PersistentFlags().String("data", "", "folder of the data (default .data)")
	_ = c.MarkPersistentFlagDirname("data")
	load := func() (config.Config, error) {
		cfg, err := overrides{"HOLDFAST_DATA": data}.load(os.Environ())
		if err != nil {
			return cfg, &exitError{exitUsage, err}
		}
		return cfg, hasData(cfg)
	}
	var dataKeys, asJSON bool
	rotate := &cobra.Command{
		Use: "rotate", Short: "Wrap all data keys with the first key of HOLDFAST_VAULT_KEYS", Args: exactArgs(0),
		Long: `Wrap the data keys of all tenants with the first key of HOLDFAST_VAULT_KEYS. Put
the new key in front of the old one in every process, run this, then remove the
old one. With --data-keys tenants also get new data keys, and all entries are
sealed with them; the old data keys go with a later rotation.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			r, err := app.RotateVault(c.Context(), cfg, dataKeys)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, map[string]any{"tenants": r.Tenants, "wrapped": r.Wrapped, "added": r.Added, "removed": r.Removed, "sealed": r.Sealed})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d tenants: %d data keys wrapped anew, %d added, %d removed; %d entries sealed anew\n",
				r.Tenants, r.Wrapped, r.Added, r.Removed, r.Sealed)
			return err
		},
	}
	rotate.Flags().BoolVar(&dataKeys, "data-keys", false, "new data keys too")
	var yes bool
	erase := &cobra.Command{
		Use: "erase TENANT", Short: "Delete a tenant's data keys, secrets, grants and clients for good", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !yes {
				return &exitError{exitUsage, fmt.Errorf("this cannot be undone: give --yes to erase the vault of tenant %s", args[0])}
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			if err := app.EraseVault(c.Context(), cfg, args[0]); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, map[string]any{"erased": args[0]})
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "the vault of tenant %s is erased\n", args[0])
			return err
		},
	}
	erase.Flags().BoolVar(&yes, "yes", false, "yes, for good")
	jsonFlag(rotate, &asJSON)
	jsonFlag(erase, &asJSON)
	c.AddCommand(rotate, erase)
	return c
}
