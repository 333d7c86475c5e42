package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newGrantCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "grant add|remove|deny|allow|list",
		Short: "Say what an identity may do",
		Long: `A grant gives an identity a role over patterns. An identity is "cert:" and the name in a certificate (its
first SPIFFE id, else its first DNS name, else its common name), or "token:" and the name of a token. It
need not have called yet. PATTERN is as for "rollcall override".

Grants add up, and what anonymous callers may do everybody may. "rollcall grant deny" wins over all of
it. Nobody grants, or takes away, what he may not do himself.`,
		Example: `  rollcall grant add cert:shop --role reporter --on 'shop/*'
  rollcall grant list`,
	}, newGrantAddCommand(a), newGrantRemoveCommand(a), newGrantDenyCommand(a), newGrantAllowCommand(a), newGrantListCommand(a))
}

// grantFlags are the flags of a role over patterns.
type grantFlags struct {
	role     string
	patterns []string
}

// register defines the flags. another says how a grant of another role is given, or taken.
func (g *grantFlags) register(a *app, cmd *cobra.Command, role, on, another string) {
	f := cmd.Flags()
	f.StringVar(&g.role, "role", "", role)
	cliflag.ListVarP(f, &g.patterns, "on", "", nil, on)
	cliflag.FlagOnly(f, "role", "on")
	cliflag.NotEmpty(f, "role", "on")
	cliflag.InPlaceOfTwo(f, "role", "another grant is "+another)
	a.completeFlag(cmd, "role", a.completeFlagRole)
	a.completeFlag(cmd, "on", a.completeFlagPattern)
}

// check refuses what no grant can be.
func (g *grantFlags) check() error {
	if g.role != "" {
		if err := checkRoleName(g.role, "--role"); err != nil {
			return err
		}
	}
	for _, p := range g.patterns {
		if err := checkPattern(p); err != nil {
			return invalid("--on: %w", err)
		}
	}
	return nil
}

// whole is check for a grant that is to be given.
func (g *grantFlags) whole() error {
	switch {
	case g.role == "":
		return withNext(invalid("--role is missing"), `"rollcall role list" shows the roles`)
	case len(g.patterns) == 0:
		return withNext(invalid("--on is missing: the services that the role is for"), "give names or patterns, as --on 'shop/*'; '*' stands for all services")
	}
	return g.check()
}

func newGrantAddCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		grant  grantFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:     "add IDENTITY --role ROLE --on PATTERN",
		Aliases: []string{"set"},
		Short:   "Give an identity a role over services; it keeps what it has",
		Long: `Gives an identity a role over the services of patterns. What it was granted before stays, also if
somebody else grants it something at the same time.`,
		Example: `  rollcall grant add cert:shop --role reporter --on 'shop/*' --reason "cell 1"
  rollcall grant add token:oncall --role operator --on '*'`,
		Args:              exactly("IDENTITY"),
		ValidArgsFunction: a.completeIdentities(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkGranted(args[0]); err != nil {
				return err
			}
			if err := grant.whole(); err != nil {
				return err
			}
			return a.changeGrants(cmd, &w, dryRun, "grant "+args[0]+" the role "+grant.role, args[0], func(g *rollcallv1.IdentityGrants) (bool, error) {
				all, added := grantsWith(g.GetGrants(), grant.role, grant.patterns)
				g.Grants = all
				return len(added) > 0, nil
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "what the identity was granted")
	grant.register(a, cmd, "`role` to give: viewer, reporter, operator, admin, or one of your own", "`patterns` of the services, comma separated or repeated; '*': all", `added with another "rollcall grant add"`)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return named(cmd)
}

func newGrantRemoveCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		grant        grantFlags
		dryRun       bool
		allowMissing bool
	)
	cmd := &cobra.Command{
		Use:        "remove IDENTITY [--role ROLE] [--on PATTERN]",
		Aliases:    []string{"rm"},
		SuggestFor: []string{"delete", "del", "revoke", "clear"},
		Short:      "Take a grant away from an identity; it keeps the others",
		Long: `Takes away what an identity was granted: the role over these patterns; without --on the role over all
that it was granted for; without --role and --on everything. Other grants stay, also if somebody else
changes them at the same time. PATTERN is one that was granted: to take away a part of 'shop/*', remove it
and add what is to stay.

Its watches of what it may not read any more end within a second.`,
		Example: `  rollcall grant remove cert:shop --role reporter --on 'shop/*'
  rollcall grant remove cert:shop --reason "the shop has moved"`,
		Args:              exactly("IDENTITY"),
		ValidArgsFunction: a.completeIdentities(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			identity := args[0]
			if err := checkGranted(identity); err != nil {
				return err
			}
			if err := grant.check(); err != nil {
				return err
			}
			return a.changeGrants(cmd, &w, dryRun, "take a grant from "+identity, identity, func(g *rollcallv1.IdentityGrants) (bool, error) {
				before := len(g.GetGrants())
				rest, missing := grantsWithout(g.GetGrants(), grant.role, grant.patterns)
				if missing != "" && !allowMissing {
					return false, &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonNotFound,
						err: fmt.Errorf("%s has %s", format.Printable(identity), missing), next: `"rollcall grant list" shows what it has`}
				}
				same := explain.Grants(rest) == explain.Grants(g.GetGrants())
				g.Grants = rest
				return before > 0 && !same, nil
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "what the identity was granted")
	grant.register(a, cmd, "`role` to take away; without it, all roles", "`patterns` that were granted, comma separated or repeated; without them, all", `taken away with another "rollcall grant remove"`)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a grant that does not exist is no error")
	return named(cmd)
}

// checkGranted refuses an identity that nothing can be granted to.
func checkGranted(identity string) error {
	if identity == limits.AnonymousIdentity {
		return withNext(invalid("anonymous callers have no grants"), `"rollcall auth enable --anonymous ROLE" says what they may do`)
	}
	return checkIdentity(identity)
}

// changeGrants makes the grants of an identity what change makes of them. change says whether they are others then.
func (a *app) changeGrants(cmd *cobra.Command, w *writeFlags, dryRun bool, what, identity string, change func(*rollcallv1.IdentityGrants) (bool, error)) error {
	o, err := w.options(cmd)
	if err != nil {
		return err
	}
	o.DryRun = dryRun
	return a.call(cmd, func(ctx context.Context, c *client.Client) error {
		var (
			changed bool
			as      int64
		)
		resp, err := changeAsRead(ctx, o, func(ctx context.Context) (*rollcallv1.IdentityGrants, int64, error) {
			g, err := grantsOf(ctx, c, identity, &as)
			if err != nil {
				return nil, 0, err
			}
			revision := g.GetRevision()
			changed, err = change(g)
			return g, revision, err
		}, func(ctx context.Context, g *rollcallv1.IdentityGrants, o client.WriteOptions) (*rollcallv1.PutGrantsResponse, error) {
			if !changed {
				return &rollcallv1.PutGrantsResponse{Grants: g, Revision: as, ClusterId: c.Cluster()}, nil
			}
			return c.PutGrants(ctx, client.IdentityGrants{Identity: identity, Grants: g.GetGrants(), Denied: g.GetDenied()}, o)
		})
		if err != nil {
			return &attempt{what: what, err: err, notFound: roleAdvice}
		}
		return a.printWrite(resp, dryRun, func(w io.Writer) { fmt.Fprintln(w, describeGrants(resp, identity, dryRun)) }, identity)
	})
}

// grantsOf returns what an identity was granted, for its reader to change; nothing at revision 0 if it was granted nothing.
func grantsOf(ctx context.Context, c *client.Client, identity string, as *int64) (*rollcallv1.IdentityGrants, error) {
	for g, err := range c.ListGrants(ctx, client.ListGrantsOptions{Identity: identity, AsOf: as}) {
		return g, err
	}
	return &rollcallv1.IdentityGrants{Identity: identity}, nil
}

func describeGrants(resp *rollcallv1.PutGrantsResponse, identity string, dryRun bool) string {
	g := resp.GetGrants()
	held := cmp.Or(map[bool]string{true: explain.Held(g)}[g != nil], "nothing")
	line := fmt.Sprintf("%s: %s", format.Printable(identity), held)
	switch {
	case !resp.GetChanged() && g.GetRevision() > 0:
		return line + fmt.Sprintf(", already since revision %d; nothing changed", g.GetRevision())
	case !resp.GetChanged():
		return line + "; nothing changed"
	case dryRun:
		return line + "; dry run, nothing changed"
	}
	return line + fmt.Sprintf(", revision %d", resp.GetRevision())
}
