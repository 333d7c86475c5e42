package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
)

func newDeleteCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		allowMissing bool
	)
	cmd := &cobra.Command{
		Use:        "delete SERVICE",
		Aliases:    []string{"rm"},
		SuggestFor: []string{"remove", "del", "unset"},
		Short:      "Forget a service",
		Long: `Forgets a service: Check answers NOT_FOUND from then on, and watches of it SERVICE_UNKNOWN. To say
that it is down, use "rollcall set SERVICE not_serving".`,
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
			o.AllowMissing = allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.Delete(ctx, service, o)
				if err != nil {
					return doing("delete "+service, err)
				}
				if a.json() {
					a.printMessage(resp)
					return nil
				}
				outcome := "deleted"
				if allowMissing {
					outcome = "does not exist any more"
				}
				fmt.Fprintf(a.stdout, "%s %s, revision %d\n", service, outcome, resp.GetRevision())
				return nil
			})
		},
	}
	w.register(cmd)
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a service that does not exist is no error")
	return cmd
}
