package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/fsm/access"
)

func newAuthCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "auth enable|disable|status|can",
		Short: "Enforce who may do what, and ask who may",
		Long: `Until access is enforced everybody may do everything. Prepare it: make a token for an administrator and
for each program ("rollcall token create"), or grant roles to the names in certificates ("rollcall grant
add"); ask with "rollcall auth can --when-enforced" what each may do then. "rollcall auth enable" with a
caller that stays an administrator enforces it, on all nodes at once.

It needs TLS on the API ports, unless they are on loopback addresses. If no administrator is left, give
one node "--admin-identity" or "--admin-token-file": see "rollcall serve --help".`,
		Example: `  rollcall token create admin --role admin --on '*' --out admin.token
  rollcall auth can auth '*' --when-enforced --token-file admin.token
  rollcall auth enable --token-file admin.token`,
	}, newAuthEnableCommand(a), newAuthDisableCommand(a), newAuthStatusCommand(a), newAuthCanCommand(a))
}

// nobody, as the value of --anonymous, is no role.
const nobody = "none"

func newAuthEnableCommand(a *app) *cobra.Command {
	var (
		w         writeFlags
		anonymous string
		dryRun    bool
	)
	cmd := &cobra.Command{
		Use:   "enable",
		Short: "Enforce access, or change what anonymous callers may do",
		Long: `Enforces access on all nodes: from then on everybody may do what was granted to him, and nothing else.
Callers that prove no identity have the role of --anonymous over everything: viewer at first, so that
probes and clients that only read go on. Without --anonymous, the role that was set last stays. With
"--anonymous none" plain probes of the API ports fail from then on; --health-listen of a node stays open.

It is refused if you could not undo it, that is, if you would have the verb auth over everything no
longer.`,
		Example: `  rollcall auth enable --token-file admin.token --reason "all services have tokens"
  rollcall auth enable --token-file admin.token --anonymous none`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed("anonymous")
			role := anonymous
			if role == nobody {
				role = ""
			} else if err := checkRoleName(role, "--anonymous"); err != nil {
				return err
			}
			return a.setAuth(cmd, &w, dryRun, "enforce access", func(now *rollcallv1.Auth) client.AuthSetting {
				if !given && now.GetRevision() > 0 {
					role = now.GetAnonymous()
				}
				return client.AuthSetting{Enforced: true, Anonymous: role}
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the setting")
	f := cmd.Flags()
	f.StringVar(&anonymous, "anonymous", access.Viewer, "`role` of callers that prove no identity, or none")
	f.BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(f, "anonymous", "dry-run")
	cliflag.NotEmpty(f, "anonymous")
	a.completeFlag(cmd, "anonymous", a.completeFlagRole)
	return cmd
}

func newAuthDisableCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "disable",
		Short: "Enforce access no longer: everybody may do everything",
		Long: `Enforces access no longer, on all nodes: everybody may do everything. Tokens, roles and grants stay, and
count again with "rollcall auth enable". A token that is damaged, revoked or has expired is refused all
the same.`,
		Example: `  rollcall auth disable --token-file admin.token --reason "the CA is broken"`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.setAuth(cmd, &w, dryRun, "enforce access no longer", func(now *rollcallv1.Auth) client.AuthSetting {
				return client.AuthSetting{Anonymous: now.GetAnonymous()}
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the setting")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return cmd
}

// setAuth makes the setting of the cluster what change makes of it.
func (a *app) setAuth(cmd *cobra.Command, w *writeFlags, dryRun bool, what string, change func(*rollcallv1.Auth) client.AuthSetting) error {
	o, err := w.options(cmd)
	if err != nil {
		return err
	}
	o.DryRun = dryRun
	return a.call(cmd, func(ctx context.Context, c *client.Client) error {
		resp, err := changeAsRead(ctx, o, func(ctx context.Context) (client.AuthSetting, int64, error) {
			now, err := c.GetAuth(ctx)
			return change(now.GetAuth()), now.GetAuth().GetRevision(), err
		}, func(ctx context.Context, s client.AuthSetting, o client.WriteOptions) (*rollcallv1.SetAuthResponse, error) {
			return c.SetAuth(ctx, s, o)
		})
		if err != nil {
			return &attempt{what: what, err: err, notFound: roleAdvice}
		}
		return a.printWrite(resp, dryRun, func(w io.Writer) {
			text := explain.Enforcement(resp.GetAuth())
			switch {
			case !resp.GetChanged():
				text += fmt.Sprintf("; already since revision %d; nothing changed", resp.GetAuth().GetRevision())
			case dryRun:
				text += "; dry run, nothing changed"
			default:
				text += fmt.Sprintf("; revision %d", resp.GetRevision())
			}
			fmt.Fprintln(w, text)
			if now := resp.GetAuth(); resp.GetChanged() && now.GetEnforced() && now.GetAnonymous() == "" {
				fmt.Fprintln(w, "! probes of the API ports that show no token and no certificate fail then; the ports of --health-listen stay open")
			}
		})
	})
}

func newAuthStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether access is enforced, and what anonymous callers may do",
		Long:    `Shows whether access is enforced, what callers may do that prove no identity, and who set that, when and why.`,
		Example: `  rollcall auth status`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.GetAuth(ctx)
				if err != nil {
					return doing("ask whether access is enforced", err)
				}
				return a.printMessage(resp, nil, func() error {
					_, err := fmt.Fprintln(a.stdout, a.describeAuth(resp.GetAuth()))
					return err
				})
			})
		},
	}
}

func (a *app) describeAuth(auth *rollcallv1.Auth) string {
	text := explain.Enforcement(auth)
	if auth.GetRevision() == 0 {
		return text + `; "rollcall auth enable" enforces it`
	}
	text += fmt.Sprintf("\nset %s (%s) by %s, revision %d", a.localTime(auth.GetTime().AsTime()), format.Ago(a.now(), auth.GetTime()), explain.ActorOrDash(auth.GetActor()), auth.GetRevision())
	if why := auth.GetReason(); why != "" {
		text += ": " + format.Printable(why)
	}
	return text
}

// checkRoleName refuses what no role can be called; field is the flag or argument that names it.
func checkRoleName(name, field string) error {
	if bad := limits.RoleName(name); bad != nil {
		return invalid("%s: role name %w", field, bad)
	}
	return nil
}
