package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
)

func newShutdownCommand(a *app) *cobra.Command {
	var (
		w        writeFlags
		lasts    lifetime
		dryRun   bool
		breaking breakGlass
	)
	cmd := &cobra.Command{
		Use:   "shutdown --reason WHY",
		Short: "Show every service of the registry as NOT_SERVING, for an hour unless told otherwise",
		Long: `Shows every service of the registry as NOT_SERVING, over all reports and all other overrides. It sets the
override '**'.

It ends by itself after one hour: then every service shows again what is beneath. --for says another
time. With --forever it lasts until "rollcall resume", which also ends it before its time. As long as it
lasts, "rollcall status" says so.

No node stops, and nothing is forgotten: reports go on beneath, and resuming shows them, also those made
meanwhile. The names that nodes answer for themselves, "", rollcall.reads and so on, do not change, so
clients and probes of the nodes go on.

Rules refuse it like any other change: --break-glass '*' breaks all of them.`,
		Example: `  rollcall shutdown --reason "the region is evacuated" --for 2h
  rollcall shutdown --reason "drill" --dry-run
  rollcall shutdown --reason "ledger is corrupt" --forever --break-glass '*'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			if o.Reason == "" {
				return withNext(invalid("shutdown needs a --reason"), "it stands in the history, and everybody whose service is down reads it")
			}
			if o.TTL, err = lasts.option(cmd); err != nil {
				return err
			}
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.setOverride(cmd, pattern.Switch, healthpb.HealthCheckResponse_NOT_SERVING, o, shuttingDown, describeShutdown)
		},
	}
	w.register(cmd)
	w.condition(cmd, "the override **")
	lasts.register(cmd, `"rollcall resume"`)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the services whose status would change, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	breaking.register(a, cmd)
	return cmd
}

// What shutdown and resume do, for a message.
const (
	shuttingDown = "shut the registry down"
	resuming     = "resume"
)

// describeShutdown says above all when a shutdown ends.
func describeShutdown(now time.Time, resp *rollcallv1.SetOverrideResponse) string {
	o := resp.GetOverride()
	end := `it ends by itself then, "rollcall resume" ends it before`
	if o.GetExpireTime() == nil {
		end = `it does not end by itself, only "rollcall resume" ends it`
	}
	if !resp.GetChanged() {
		return fmt.Sprintf("already shut down %s since revision %d; nothing changed\n%s", explain.Until(now, o), o.GetRevision(), end)
	}
	return fmt.Sprintf("shut down %s, revision %d; covers %s\n%s", explain.Until(now, o), resp.GetRevision(), services(resp.GetMatchedCount()), end)
}

func newResumeCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		dryRun       bool
		allowMissing bool
		breaking     breakGlass
	)
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a shutdown: every service shows again what is beneath it",
		Long: `Ends a shutdown: every service shows what is reported of it, also what was reported meanwhile, or what
another override says. It clears the override '**'.`,
		Example: `  rollcall resume --reason "the region is back"
  rollcall resume --dry-run`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.Resume(ctx, o)
				if err != nil {
					if e, ok := errors.AsType[*client.Error](err); ok && e.Code == codes.NotFound && len(o.BreakGlass) == 0 {
						return &failure{exit: exitNotDone, code: codes.NotFound, reason: e.Reason, written: e.Written, requestID: e.RequestID,
							err: errors.New("cannot resume: the registry is not shut down"), next: overrideAdvice}
					}
					return doing(resuming, err)
				}
				return a.printCleared(resp, "**", o, "resumed", "the registry is not shut down")
			})
		},
	}
	w.register(cmd)
	w.condition(cmd, "the override **")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list the services whose status would change, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	cmd.Flags().BoolVar(&allowMissing, "allow-missing", false, "a registry that is not shut down is no error")
	breaking.register(a, cmd)
	return cmd
}
