package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newSetCommand(a *app) *cobra.Command {
	var (
		w        writeFlags
		dryRun   bool
		breaking breakGlass
		lease    setLease
	)
	cmd := named(&cobra.Command{
		Use:     "set SERVICE STATUS | set SERVICE=STATUS ...",
		Aliases: []string{"put"},
		Short:   "Report the status of a service, or of several at once",
		Long: `Reports the status of a service. A service that does not exist is made. STATUS is serving (or up),
not_serving (or down) or unknown. Several SERVICE=STATUS are one write: all of them change or none,
and no reader sees some.

--lease attaches the reports to a lease, and renews it. --ttl attaches them to a new one: they turn to
NOT_SERVING, or to --on-expiry, when nobody renews it for so long. With --keep-alive the command goes on
and renews it, through any node, until Ctrl-C or SIGTERM; then it ends the lease as --on-stop says, at
once. It prints what becomes of the lease. See "rollcall lease". Its reports are no single write: one
that is refused does not hold back the others, but ends the command.

Exit status 0: the change is on the disks of a majority. 1: nothing was changed. 5: nobody knows
whether it was changed, because no answer came back. Then repeat the same command with the
--request-id that was printed, within ten minutes: the change is made once, and the answer is that of
the first try. Change nothing else of the command, or it is refused: the reason, the actor and
--if-revision belong to the request too.`,
		Example: `  rollcall set shop/cart serving
  rollcall set shop/cart not-serving --reason "draining for 1.4.3"
  rollcall set shop/cart=serving shop/search=not_serving
  rollcall set shop/cart serving --if-revision 42
  rollcall set shop/cart serving --ttl 10s --keep-alive --on-stop withdraw`,
		ValidArgsFunction: a.completeSet,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := parseChanges(args)
			if err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			if o.BreakGlass, err = breaking.option(o.Reason); err != nil {
				return err
			}
			if o.IfRevision != nil && len(changes) > 1 {
				return invalid("--if-revision compares the revision of one service; %d are given", len(changes))
			}
			if err := lease.check(cmd, o); err != nil {
				return err
			}
			var granted *client.LeaseOptions
			if cmd.Flags().Changed("ttl") {
				options, err := lease.flags.options(cmd)
				if err != nil {
					return err
				}
				if lease.keepAlive {
					return lease.keep(a, cmd, changes, options, o)
				}
				granted = &options
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				o, note := o, ""
				if o.LeaseID = lease.id; granted != nil {
					if note, err = lease.grant(ctx, c, *granted, &o); err != nil {
						return err
					}
				}
				if len(changes) == 1 {
					return a.setOne(ctx, c, changes[0], o, note)
				}
				return a.setBatch(ctx, c, changes, o, note)
			})
		},
	})
	w.register(cmd)
	breaking.register(a, cmd)
	lease.register(a, cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return cmd
}

// parseChanges reads SERVICE STATUS or SERVICE=STATUS ... A service name holds no "=", so they cannot
// be mistaken for each other.
func parseChanges(args []string) ([]client.Change, error) {
	const usage = `write SERVICE STATUS, or SERVICE=STATUS for each`
	switch {
	case len(args) == 0:
		return nil, withNext(invalid("nothing to set"), usage)
	case len(args) == 1 && !strings.Contains(args[0], "="):
		return nil, withNext(invalid("no status given for %q", args[0]), usage)
	case len(args) == 2 && !strings.Contains(args[0], "=") && !strings.Contains(args[1], "="):
		args = []string{args[0] + "=" + args[1]}
	}
	changes := make([]client.Change, 0, len(args))
	seen := make(map[string]bool, len(args))
	for _, arg := range args {
		service, status, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, withNext(invalid("%q is not SERVICE=STATUS", arg), usage)
		}
		if err := checkName(service); err != nil {
			return nil, err
		}
		s, err := cliflag.ParseStatus(status)
		if err != nil {
			return nil, invalid("%s: %w", service, err)
		}
		if seen[service] {
			return nil, invalid("%s is given twice", service)
		}
		seen[service] = true
		changes = append(changes, client.Change{Service: service, Status: s})
	}
	return changes, nil
}

func withNext(f *failure, next string) *failure {
	f.next = next
	return f
}

func (a *app) setOne(ctx context.Context, c *client.Client, change client.Change, o client.WriteOptions, note string) error {
	resp, err := c.Set(ctx, change.Service, change.Status, o)
	if err != nil {
		return doing("set "+change.Service, err)
	}
	return a.printWrite(resp, o.DryRun, func(w io.Writer) {
		fmt.Fprintln(w, describeSet(a.now(), resp, o.DryRun))
		writeBroken(w, resp.GetBrokenRules(), o.BreakGlass, o.DryRun)
		if note != "" {
			fmt.Fprintln(w, note)
		}
	}, change.Service)
}

func describeSet(now time.Time, resp *rollcallv1.SetServingStatusResponse, dryRun bool) string {
	rec := resp.GetService()
	reported := rec.GetReport().GetStatus()
	line := fmt.Sprintf("%s %s", rec.GetService(), reported)
	switch {
	case !resp.GetChanged() && dryRun:
		line += fmt.Sprintf(" already since revision %d; set would change nothing", rec.GetReport().GetRevision())
	case !resp.GetChanged():
		line += fmt.Sprintf(" already since revision %d; nothing changed", rec.GetReport().GetRevision())
	case dryRun:
		line = fmt.Sprintf("%s would be %s; dry run, nothing changed", rec.GetService(), reported)
	default:
		line += fmt.Sprintf(", revision %d", resp.GetRevision())
	}
	if o := rec.GetOverride(); o != nil {
		line += fmt.Sprintf("; shown as %s by %s", rec.GetStatus(), explain.Override(now, o))
	}
	return line
}

func (a *app) setBatch(ctx context.Context, c *client.Client, changes []client.Change, o client.WriteOptions, note string) error {
	resp, err := c.SetBatch(ctx, changes, o)
	if err != nil {
		return doing(fmt.Sprintf("set %d services", len(changes)), err)
	}
	names := make([]string, len(changes))
	for i, change := range changes {
		names[i] = change.Service
	}
	return a.printWrite(resp, o.DryRun, func(w io.Writer) {
		format.Table(w, func(row func(...string)) {
			for _, rec := range resp.GetServices() {
				row(rec.GetService(), rec.GetReport().GetStatus().String())
			}
		})
		fmt.Fprintln(w, describeBatch(resp, o.DryRun))
		writeBroken(w, resp.GetBrokenRules(), o.BreakGlass, o.DryRun)
		if note != "" {
			fmt.Fprintln(w, note)
		}
	}, names...)
}

func describeBatch(resp *rollcallv1.BatchSetServingStatusResponse, dryRun bool) string {
	total, changed := len(resp.GetServices()), resp.GetChangedCount()
	switch {
	case dryRun:
		return fmt.Sprintf("%d of %d would change; dry run, nothing changed", changed, total)
	case changed == 0:
		return fmt.Sprintf("all %d were so already; nothing changed", total)
	}
	return fmt.Sprintf("%d of %d changed, revision %d", changed, total, resp.GetRevision())
}
