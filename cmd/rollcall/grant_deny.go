package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newGrantDenyCommand(a *app) *cobra.Command {
	return a.denying(&cobra.Command{
		Use:   "deny IDENTITY",
		Short: "Let an identity do nothing, not even what anonymous callers may",
		Long: `Denies an identity everything, whatever it was granted, and what anonymous callers may, too. Its grants
stay, for "rollcall grant allow". Its watches end within a second.

A caller can leave out its certificate or token, and is anonymous then. What anonymous callers may do says
"rollcall auth enable --anonymous".`,
		Example: `  rollcall grant deny cert:build-17 --reason "its key was copied"`,
	}, true)
}

func newGrantAllowCommand(a *app) *cobra.Command {
	return a.denying(&cobra.Command{
		Use:        "allow IDENTITY",
		SuggestFor: []string{"undeny"},
		Short:      "End what \"deny\" did: the identity may do what it was granted",
		Long:       `Ends what "rollcall grant deny" did. The identity may do what it was granted, and what anonymous callers may.`,
		Example:    `  rollcall grant allow cert:build-17 --reason "it has a new key"`,
	}, false)
}

// denying completes a command that denies an identity everything, or ends that.
func (a *app) denying(cmd *cobra.Command, denied bool) *cobra.Command {
	var (
		w      writeFlags
		dryRun bool
	)
	cmd.Args = exactly("IDENTITY")
	cmd.ValidArgsFunction = a.completeIdentities(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkGranted(args[0]); err != nil {
			return err
		}
		return a.changeGrants(cmd, &w, dryRun, cmd.Name()+" "+args[0], args[0], func(g *rollcallv1.IdentityGrants) (bool, error) {
			changed := g.GetDenied() != denied
			g.Denied = denied
			return changed, nil
		})
	}
	w.register(cmd)
	w.condition(cmd, "what the identity was granted")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return named(cmd)
}

func newGrantListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [IDENTITY]",
		Aliases: []string{"ls"},
		Short:   "List what identities were granted",
		Long: `Lists the identities that were granted something, or denied everything: what, by whom and why. What
anonymous callers may do is in "rollcall auth status".`,
		Example: `  rollcall grant list
  rollcall grant list token:ci -o json`,
		Args:              between(0, "IDENTITY"),
		ValidArgsFunction: a.completeIdentities(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var o client.ListGrantsOptions
			if len(args) == 1 {
				o.Identity = args[0]
				if err := checkGranted(o.Identity); err != nil {
					return err
				}
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list := &rollcallv1.ListGrantsResponse{}
				o.AsOf = &list.Revision
				for g, err := range c.ListGrants(ctx, o) {
					if err != nil {
						return doing("list grants", err)
					}
					list.Grants = append(list.Grants, g)
				}
				list.ClusterId = c.Cluster()
				return a.printGrants(list)
			})
		},
	}
	return named(cmd)
}

func (a *app) printGrants(list *rollcallv1.ListGrantsResponse) error {
	names := make([]string, len(list.GetGrants()))
	for i, g := range list.GetGrants() {
		names[i] = g.GetIdentity()
	}
	return a.printMessage(list, names, func() error {
		if len(names) == 0 {
			fmt.Fprintln(a.stderr, `nothing is granted; "rollcall grant add" grants a role`)
			return nil
		}
		return newGrid(a, grantColumns).write(list.GetGrants())
	})
}

var grantColumns = []column[*rollcallv1.IdentityGrants]{
	{header: "IDENTITY", cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell { return text(g.GetIdentity()) }},
	{header: "MAY", cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell {
		return format.Cell{Text: explain.Held(g), Tone: toneIf(g.GetDenied(), format.Bad)}
	}},
	{header: "REVISION", cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell { return text(fmt.Sprint(g.GetRevision())) }},
	{header: "TIME", wide: true, cell: func(v view, g *rollcallv1.IdentityGrants) format.Cell { return text(v.timeOrDash(g.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell { return text(explain.ActorOrDash(g.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell {
		return text(format.OrDash(g.GetActor().GetPeer()))
	}},
	{header: "REASON", cell: func(_ view, g *rollcallv1.IdentityGrants) format.Cell { return text(format.OrDash(g.GetReason())) }},
}
