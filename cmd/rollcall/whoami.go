package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newWhoAmICommand(a *app) *cobra.Command {
	return named(&cobra.Command{
		Use:   "whoami",
		Short: "Show who the nodes take you for, and what you may do",
		Long: `Shows the identity that the first node which answers takes this command for, how it was proved, what it
may do, and until when. It is "token:NAME" with --token-file, "cert:NAME" with --cert and --key, and
"anonymous" with neither. With both, the token counts.`,
		Example: `  rollcall whoami
  rollcall whoami --token-file ci.token`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				me, err := c.WhoAmI(ctx)
				if err != nil {
					return doing("ask who this is", err)
				}
				return a.printMessage(me, []string{me.GetIdentity()}, func() error { return a.writeWhoAmI(me) })
			})
		},
	})
}

func (a *app) writeWhoAmI(me *rollcallv1.WhoAmIResponse) error {
	may := explain.Grants(me.GetGrants())
	switch {
	case !me.GetEnforced():
		may = "everything: access is not enforced"
	case me.GetDenied():
		may = "nothing: it is denied everything"
	}
	return format.Table(a.stdout, func(row func(...string)) {
		row("IDENTITY", me.GetIdentity())
		row("BY", format.OrDash(me.GetHow()))
		row("MAY", may)
		if me.GetExpires() != nil {
			row("EXPIRES", explain.Expiry(a.now(), me.GetExpires()))
		}
		enforced := "no"
		if me.GetEnforced() {
			enforced = "yes"
		}
		row("ENFORCED", enforced)
		row("CLUSTER", fmt.Sprintf("%s, revision %d", shortID(me.GetClusterId()), me.GetRevision()))
	})
}
