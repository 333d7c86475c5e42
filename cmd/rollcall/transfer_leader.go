package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newTransferLeaderCommand(a *app) *cobra.Command {
	return named(&cobra.Command{
		Use:   "transfer-leader [NODE]",
		Short: "Hand leadership to another voter",
		Long: `Hands leadership to a voter, and ends when that one leads: to NODE, or to the one that has received the
most. Changes wait meanwhile, for less than a second as a rule. It is for maintenance of the leader's
machine; a node that is stopped with SIGTERM hands leadership over by itself.`,
		Example: `  rollcall transfer-leader
  rollcall transfer-leader n2`,
		Args:              between(0, "NODE"),
		ValidArgsFunction: a.completeMembers(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, what := "", "transfer leadership"
			if len(args) > 0 {
				if err := checkNode(args[0]); err != nil {
					return err
				}
				to, what = args[0], "transfer leadership to "+args[0]
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.TransferLeadership(ctx, to)
				if err != nil {
					return &attempt{what: what, err: err, next: memberAdvice, unknown: `"rollcall status" shows who leads`}
				}
				return a.printWrite(resp, false, func(w io.Writer) {
					fmt.Fprintf(w, "%s leads, term %d\n", format.Printable(resp.GetLeader()), resp.GetTerm())
				}, resp.GetLeader())
			})
		},
	})
}
