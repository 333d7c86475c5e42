package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func newRoleCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "role set|remove|list",
		Short: "Name what can be granted together",
		Long: `A role is a name for verbs that are granted together. Four are built in and never change: viewer (read,
status), reporter (read, report), operator (viewer and reporter, and override, rules, backup), admin
(everything). "rollcall auth can --help" says what the verbs are.`,
		Example: `  rollcall role set deployer read report override
  rollcall role list`,
	}, newRoleSetCommand(a), newRoleRemoveCommand(a), newRoleListCommand(a))
}

func newRoleSetCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:     "set NAME VERB...",
		Aliases: []string{"add"},
		Short:   "Set a role, or change the one of this name",
		Long: `Sets a role, or changes the one of this name: it has these verbs and no others. Who has the role may do
at once what it allows, and no longer what it does not. It needs the verb auth, and the role's own verbs,
over everything.`,
		Example: `  rollcall role set deployer read report override
  rollcall role set deployer read report --reason "overrides are for operators"`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return fmt.Errorf("NAME and VERB are missing")
			case 1:
				return fmt.Errorf("VERB is missing: one or more of %s", strings.Join(access.All.Names(), ", "))
			}
			return nil
		},
		ValidArgsFunction: a.completeRoleSet,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, verbs := args[0], args[1:]
			if err := checkOwnRole(name); err != nil {
				return err
			}
			if err := checkVerbs(verbs); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.PutRole(ctx, name, verbs, o)
				if err != nil {
					return doing("set role "+name, err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) { fmt.Fprintln(w, describeRoleSet(resp, dryRun)) }, name)
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the role of this name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return named(cmd)
}

// checkOwnRole refuses a role that cannot be changed.
func checkOwnRole(name string) error {
	if _, builtIn := access.BuiltIn(name); builtIn {
		return withNext(invalid("the role %s is built in and does not change", name), "set one with another name")
	}
	return checkRoleName(name, "NAME")
}

func checkVerbs(verbs []string) error {
	for i, v := range verbs {
		if _, ok := access.Verb(v); !ok {
			return invalid("%q is no verb; use %s", v, format.Alternatives(access.All.Names()))
		}
		if slices.Contains(verbs[:i], v) {
			return invalid("the verb %s is given twice", v)
		}
	}
	return nil
}

func describeRoleSet(resp *rollcallv1.PutRoleResponse, dryRun bool) string {
	r := resp.GetRole()
	line := fmt.Sprintf("role %s may %s", format.Printable(r.GetName()), strings.Join(r.GetVerbs(), ", "))
	switch {
	case !resp.GetChanged():
		return line + fmt.Sprintf(", already since revision %d; nothing changed", r.GetRevision())
	case dryRun:
		return line + "; dry run, nothing changed"
	}
	return line + fmt.Sprintf(", revision %d", resp.GetRevision())
}

func newRoleRemoveCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		dryRun       bool
		allowMissing bool
	)
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Aliases:           []string{"rm"},
		SuggestFor:        []string{"delete", "del", "clear"},
		Short:             "Remove a role",
		Long:              `Removes a role that nobody has: neither an identity by a grant ("rollcall grant list") nor anonymous callers.`,
		Example:           `  rollcall role remove deployer --reason "nobody deploys by hand any more"`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeRoles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkOwnRole(name); err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.DeleteRole(ctx, name, o)
				if err != nil {
					return &attempt{what: "remove role " + name, err: err, notFound: roleAdvice}
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) {
					fmt.Fprintln(w, describeRemoval("role "+name, "removed", resp.GetRevision(), dryRun, allowMissing))
				}, name)
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the role of this name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a role that does not exist is no error")
	return named(cmd)
}

// describeRemoval says what became of removing something: "role deployer removed, revision 9".
func describeRemoval(what, removed string, revision int64, dryRun, allowMissing bool) string {
	what = format.Printable(what)
	switch {
	case dryRun:
		return fmt.Sprintf("%s would be %s; dry run, nothing changed", what, removed)
	case allowMissing:
		return fmt.Sprintf("%s does not exist any more, revision %d", what, revision)
	}
	return fmt.Sprintf("%s %s, revision %d", what, removed, revision)
}

func newRoleListCommand(a *app) *cobra.Command {
	return named(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the roles, and what each allows",
		Long:    `Lists the roles: first those that are built in, then others by name; what each allows, who set it and why.`,
		Example: `  rollcall role list`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list, err := c.ListRoles(ctx)
				if err != nil {
					return doing("list roles", err)
				}
				names := make([]string, len(list.GetRoles()))
				for i, r := range list.GetRoles() {
					names[i] = r.GetName()
				}
				return a.printMessage(list, names, func() error { return newGrid(a, roleColumns).write(list.GetRoles()) })
			})
		},
	})
}

var roleColumns = []column[*rollcallv1.AccessRole]{
	{header: "ROLE", cell: func(_ view, r *rollcallv1.AccessRole) format.Cell { return text(r.GetName()) }},
	{header: "MAY", cell: func(_ view, r *rollcallv1.AccessRole) format.Cell { return text(strings.Join(r.GetVerbs(), ", ")) }},
	{header: "REVISION", cell: func(_ view, r *rollcallv1.AccessRole) format.Cell {
		if r.GetBuiltIn() {
			return text("built in")
		}
		return text(fmt.Sprint(r.GetRevision()))
	}},
	{header: "TIME", wide: true, cell: func(v view, r *rollcallv1.AccessRole) format.Cell { return text(v.timeOrDash(r.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, r *rollcallv1.AccessRole) format.Cell { return text(explain.ActorOrDash(r.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, r *rollcallv1.AccessRole) format.Cell {
		return text(format.OrDash(r.GetActor().GetPeer()))
	}},
	{header: "REASON", cell: func(_ view, r *rollcallv1.AccessRole) format.Cell { return text(format.OrDash(r.GetReason())) }},
}
