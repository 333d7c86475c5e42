package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

func newDeleteCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		dryRun       bool
		allowMissing bool
		breaking     breakGlass
		lease        string
	)
	cmd := named(&cobra.Command{
		Use:        "delete SERVICE",
		Aliases:    []string{"rm"},
		SuggestFor: []string{"remove", "del", "unset"},
		Short:      "Forget a service",
		Long: `Removes a service from the registry. Check then answers NOT_FOUND, and watches of the service get
SERVICE_UNKNOWN. The history keeps its events. To say that a service is down, use
"rollcall set SERVICE not_serving" instead.`,
		Example: `  rollcall delete shop/cart --reason "retired"
  rollcall delete shop/cart --if-revision 42`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			if err := checkName(service); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.AllowMissing, o.DryRun = allowMissing, dryRun
			if cmd.Flags().Changed("lease") {
				if err := checkLeases(lease); err != nil {
					return err
				}
				o.LeaseID = lease
			}
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.Delete(ctx, service, o)
				if err != nil {
					return doing("delete "+service, err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) {
					switch {
					case dryRun:
						fmt.Fprintf(w, "%s would be deleted; dry run, nothing changed\n", service)
					case allowMissing:
						fmt.Fprintf(w, "%s does not exist any more, revision %d\n", service, resp.GetRevision())
					default:
						fmt.Fprintf(w, "%s deleted, revision %d\n", service, resp.GetRevision())
					}
					writeBroken(w, resp.GetBrokenRules(), o.BreakGlass, dryRun)
				}, service)
			})
		},
	})
	w.register(cmd)
	breaking.register(a, cmd)
	leaseFlag(a, cmd, &lease, "the lease that the report is attached to, or another one that lives, by its `id`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a service that does not exist is no error")
	return cmd
}
