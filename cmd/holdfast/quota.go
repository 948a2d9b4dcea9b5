package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func quotaCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "quota", Short: "Show what tenants may use, and set it",
		Long: `Show what your tenant may use and uses. With a key of the operator
(HOLDFAST_OPERATOR_KEYS of the server) also that of others, and set it.`,
	}
	c.AddCommand(quotaShowCommand(), quotaListCommand(), quotaSetCommand(), quotaRemoveCommand())
	return c
}

func quotaShowCommand() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "show [TENANT]", Short: "Show the limits of a tenant and what it uses", Args: rangeArgs(0, 1),
		Long: "Show the limits of your tenant and what it uses, or as the operator those of any tenant.",
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		var q *client.Quota
		var err error
		if len(args) == 0 {
			q, err = cl.Quota(c.Context())
		} else {
			q, err = cl.TenantQuota(c.Context(), args[0])
		}
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, q)
		}
		return showQuota(c, q)
	})
	return c
}

func showQuota(c *cobra.Command, q *client.Quota) error {
	whose := "of the deployment"
	if q.Own {
		whose = "its own"
	}
	fmt.Fprintf(c.OutOrStdout(), "tenant %s, limits: %s\n", clean(q.Tenant), whose)
	tab := table{head: []string{"LIMIT", "USED", "MOST", "RESETS"}}
	whole := func(name string, used int64, most *int64, resets string) {
		limit := "-"
		if most != nil {
			limit = strconv.FormatInt(*most, 10)
		}
		tab.add(name, strconv.FormatInt(used, 10), limit, resets)
	}
	money := func(name string, used float64, most *float64, resets string) {
		limit := "-"
		if most != nil {
			limit = fmt.Sprintf("$%.2f", *most)
		}
		tab.add(name, fmt.Sprintf("$%.4f", used), limit, resets)
	}
	l, u := q.Limits, q.Use
	day, month := u.DayResetsAt.UTC().Format(time.RFC3339), u.MonthResetsAt.UTC().Format(time.RFC3339)
	if l.RequestsPerSecond != nil {
		rate := strconv.FormatFloat(*l.RequestsPerSecond, 'f', -1, 64)
		if l.Burst != nil {
			rate += fmt.Sprintf(" (burst %d)", *l.Burst)
		}
		tab.add(holdfast.QuotaRequests, "", rate, "")
	}
	whole(holdfast.QuotaRuns, u.Runs, l.Runs, "")
	whole(holdfast.QuotaSessions, u.Sessions, l.Sessions, "")
	whole(holdfast.QuotaStorage, u.StorageBytes, l.StorageBytes, "")
	whole(holdfast.QuotaTokensPerDay, u.TokensDay, l.TokensPerDay, day)
	whole(holdfast.QuotaTokensPerMonth, u.TokensMonth, l.TokensPerMonth, month)
	money(holdfast.QuotaCostPerDay, u.CostDay, l.CostPerDay, day)
	money(holdfast.QuotaCostPerMonth, u.CostMonth, l.CostPerMonth, month)
	return tab.print(c.OutOrStdout())
}

func quotaListCommand() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the quotas that are set for single tenants", Args: exactArgs(0),
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, _ []string) error {
		list := []client.SetQuota{}
		for q, err := range cl.TenantQuotas(c.Context()) {
			if err != nil {
				return err
			}
			list = append(list, q)
		}
		if asJSON {
			return printJSON(c, list)
		}
		if len(list) == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no tenant has a quota of its own")
			return nil
		}
		tab := table{head: []string{"TENANT", "LIMITS", "SINCE"}}
		for _, q := range list {
			limits := q.Limits.String()
			if limits == "" {
				limits = "none"
			}
			tab.add(clean(q.Tenant), limits, q.UpdatedAt.Local().Format(time.DateTime))
		}
		return tab.print(c.OutOrStdout())
	})
	return c
}

func quotaSetCommand() *cobra.Command {
	var t target
	var asJSON, unlimited bool
	c := &cobra.Command{
		Use: "set TENANT NAME=VALUE…", Short: "Set what a tenant may use", Args: rangeArgs(1, 100),
		Example: `  holdfast quota set acme runs=5 tokens_per_month=1000000 storage_bytes=2GiB
  holdfast quota set acme requests_per_second=10 burst=50
  holdfast quota set acme --unlimited`,
		Long: `Set all limits of a tenant anew, with a key of the operator: limits that are not
named are none. The names are requests_per_second, burst, runs, sessions,
storage_bytes, tokens_per_day, tokens_per_month, cost_per_day, cost_per_month.`,
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.Flags().BoolVar(&unlimited, "unlimited", false, "no limits, whatever the default of the deployment is")
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		limits, err := holdfast.ParseQuota(strings.Join(args[1:], ","))
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if limits.IsZero() != unlimited {
			return &exitError{exitUsage, fmt.Errorf("name limits, or give --unlimited; rm lets the default of the deployment count again")}
		}
		q, err := cl.SetTenantQuota(c.Context(), args[0], limits)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, q)
		}
		fmt.Fprintf(c.OutOrStdout(), "set the quota of %s\n", clean(q.Tenant))
		return nil
	})
	return c
}

func quotaRemoveCommand() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use: "rm TENANT", Short: "Let the default of the deployment count for a tenant", Args: exactArgs(1),
	}
	t.flags(c)
	jsonFlag(c, &asJSON)
	c.RunE = t.on(func(c *cobra.Command, cl *client.Client, args []string) error {
		if err := cl.DeleteTenantQuota(c.Context(), args[0]); err != nil {
			return err
		}
		if asJSON {
			return printJSON(c, map[string]string{"tenant": args[0]})
		}
		fmt.Fprintf(c.OutOrStdout(), "removed the quota of %s\n", clean(args[0]))
		return nil
	})
	return c
}
