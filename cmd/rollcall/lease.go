package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newLeaseCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "lease grant|keep-alive|revoke|list|release-guard",
		Short: "Tie reports to a reporter that renews them",
		Long: `A lease is a reporter's promise to renew it. Reports that name it are attached to it: see "set --lease".
If it is not renewed for its ttl, it expires, and they turn to NOT_SERVING, or to what the lease says.
While it lives, its reports are changed only by those who name it, or another lease that lives.
"rollcall override set" decides over what they say.

"rollcall set SERVICE STATUS --ttl 10s --keep-alive" does all of this in one command.

If very many leases are late at once, the fault is most likely not their reporters'. Then the lease
guard holds them: none expires. "rollcall status" says so, and "rollcall lease release-guard" lets them.`,
		Example: `  id=$(rollcall lease grant --ttl 30s -o name)
  rollcall set shop/cart serving --lease "$id"
  rollcall lease keep-alive "$id"
  rollcall lease revoke "$id"`,
	}, newLeaseGrantCommand(a), newLeaseKeepAliveCommand(a), newLeaseRevokeCommand(a), newLeaseListCommand(a), newLeaseReleaseGuardCommand(a))
}

// leaseFlags are the flags that say what a new lease is like.
type leaseFlags struct {
	ttl         time.Duration
	onExpiry    cliflag.Ending
	forgetAfter time.Duration
}

func (l *leaseFlags) register(a *app, cmd *cobra.Command, ttl time.Duration, usage string) {
	f := cmd.Flags()
	cliflag.DurationVar(f, &l.ttl, "ttl", ttl, usage)
	l.onExpiry = cliflag.NewEnding("not_serving")
	f.Var(&l.onExpiry, "on-expiry", "what the reports turn to if the lease expires: "+format.Alternatives(cliflag.Endings))
	cliflag.DurationVar(f, &l.forgetAfter, "forget-after", 0, "delete the reports that its end left so long after it, 1s to 365d, unless somebody changes them; 0: never")
	cliflag.FlagOnly(f, "ttl", "on-expiry", "forget-after")
	a.complete(cmd, "on-expiry", cliflag.Endings...)
}

// options returns what a lease is to be like.
func (l *leaseFlags) options(cmd *cobra.Command) (client.LeaseOptions, error) {
	o := client.LeaseOptions{TTL: l.ttl, OnExpiry: l.onExpiry.Status, ForgetAfter: l.forgetAfter}
	switch {
	case l.ttl < limits.MinLeaseTTL || l.ttl > limits.MaxLeaseTTL:
		return o, invalid("--ttl is %s; it must be from 1s to 24h", format.Duration(l.ttl))
	case l.forgetAfter == 0: // never
	case l.forgetAfter < limits.MinForgetAfter || l.forgetAfter > limits.MaxForgetAfter:
		return o, invalid("--forget-after is %s; it must be from 1s to 365d, or 0: never", format.Duration(l.forgetAfter))
	case o.OnExpiry != nil && *o.OnExpiry == client.ServiceUnknown:
		return o, invalid("--on-expiry delete leaves no reports that --forget-after could delete")
	}
	return o, nil
}

// ending is what reports turn to when such a lease expires: "NOT_SERVING".
func (l *leaseFlags) ending() string {
	if s := l.onExpiry.Status; s != nil {
		return explain.Becomes(*s)
	}
	return client.NotServing.String()
}

func newLeaseGrantCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		lease  leaseFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:     "grant",
		Aliases: []string{"new"},
		Short:   "Make a lease, and print its id",
		Long: `Makes a lease and prints its id; with -o name, nothing but the id. It expires when it is not renewed for
its ttl: "rollcall lease keep-alive", and every "set --lease" that names it, renew it. A new lease has
its whole ttl. So has each lease when another node becomes the leader.`,
		Example: `  rollcall lease grant --ttl 30s
  rollcall lease grant --ttl 30s --on-expiry unknown --forget-after 24h -o name`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lease.options(cmd)
			if err != nil {
				return err
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.GrantLease(ctx, l, o)
				if err != nil {
					return doing("grant a lease", err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) {
					if dryRun {
						fmt.Fprintf(w, "a lease with a ttl of %s would be granted; dry run, nothing changed\n", format.Duration(l.TTL))
						return
					}
					id := format.Printable(resp.GetLeaseId())
					fmt.Fprintf(w, "lease %s granted, ttl %s, then %s, revision %d\n%q renews it\n", id, format.Duration(resp.GetTtl().AsDuration()), lease.ending(), resp.GetRevision(), "rollcall lease keep-alive "+id)
				}, granted(resp)...)
			})
		},
	}
	w.identify(cmd)
	lease.register(a, cmd, 10*time.Second, "how long it lives after it was last renewed, 1s to 24h")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return named(cmd)
}

// granted is the id of a new lease; a dry run makes none.
func granted(resp *rollcallv1.GrantLeaseResponse) []string {
	if resp.GetLeaseId() == "" {
		return nil
	}
	return []string{resp.GetLeaseId()}
}

func newLeaseRevokeCommand(a *app) *cobra.Command {
	var (
		w            writeFlags
		revoke       client.RevokeOptions
		dryRun       bool
		allowMissing bool
	)
	status := cliflag.NewEnding("")
	cmd := &cobra.Command{
		Use:        "revoke ID",
		SuggestFor: []string{"remove", "delete", "rm", "end", "expire"},
		Short:      "End a lease at once",
		Long: `Ends a lease at once. The reports that are attached to it turn to what the lease says for its end, or to
--status. With --keep-reports they stay as they are, attached to nothing. No rule refuses it: it is its
reporter's last word.

If very many reports are attached, the leader changes them within the next seconds.`,
		Example: `  rollcall lease revoke 3f9ac2d18e6b4f05 --reason "host1 is retired"
  rollcall lease revoke 3f9ac2d18e6b4f05 --status delete
  rollcall lease revoke 3f9ac2d18e6b4f05 --keep-reports`,
		Args:              exactly("ID"),
		ValidArgsFunction: a.completeLeases(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLeases(args...); err != nil {
				return err
			}
			if revoke.Status = status.Status; revoke.Status != nil && revoke.KeepReports {
				return invalid("--status and --keep-reports exclude each other")
			}
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun, o.AllowMissing = dryRun, allowMissing
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.RevokeLease(ctx, args[0], revoke, o)
				if err != nil {
					return doing("revoke lease "+args[0], err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) { fmt.Fprintln(w, describeRevoked(args[0], revoke, o, resp)) }, args[0])
			})
		},
	}
	w.identify(cmd)
	f := cmd.Flags()
	f.Var(&status, "status", "what its reports turn to: "+format.Alternatives(cliflag.Endings)+" (default: what the lease says)")
	a.complete(cmd, "status", cliflag.Endings...)
	f.BoolVar(&revoke.KeepReports, "keep-reports", false, "its reports stay as they are, attached to nothing")
	f.BoolVar(&dryRun, "dry-run", false, "say how many services it would change, and change nothing")
	f.BoolVar(&allowMissing, "allow-missing", false, "a lease that does not live is no error")
	cliflag.FlagOnly(f, "status", "keep-reports", "dry-run")
	return named(cmd)
}

func describeRevoked(id string, r client.RevokeOptions, o client.WriteOptions, resp *rollcallv1.RevokeLeaseResponse) string {
	n := format.Count(int(resp.GetMatchedCount()), "service", "services")
	does := "changes " + n
	switch {
	case r.KeepReports:
		does = "keeps the reports of " + n
	case r.Status != nil && *r.Status == client.ServiceUnknown:
		does = "deletes " + n
	case r.Status != nil:
		does = fmt.Sprintf("turns %s to %s", n, *r.Status)
	}
	switch {
	case o.DryRun:
		return fmt.Sprintf("revoking lease %s %s; dry run, nothing changed", format.Printable(id), does)
	case resp.GetEnding():
		return fmt.Sprintf("lease %s revoked, revision %d; that %s, within the next seconds", format.Printable(id), resp.GetRevision(), does)
	case o.AllowMissing && resp.GetMatchedCount() == 0:
		return fmt.Sprintf("lease %s does not live any more, revision %d", format.Printable(id), resp.GetRevision())
	}
	return fmt.Sprintf("lease %s revoked, revision %d; that %s", format.Printable(id), resp.GetRevision(), does)
}

func newLeaseReleaseGuardCommand(a *app) *cobra.Command {
	var (
		w      writeFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "release-guard",
		Short: "Let leases expire that the lease guard holds",
		Long: `Lets leases expire that the lease guard holds. The guard engages when so many leases are late at once
that the fault is most likely not their reporters': a network that is cut, nodes that stood still. It
ends by itself when enough reporters renew again, or after an hour (--lease-guard-max of "serve").

Release it when the reporters are gone indeed: then all leases that are due expire within a second, and
their services turn to NOT_SERVING, or to what each lease says. "rollcall lease list" shows which are due.`,
		Example: `  rollcall lease release-guard --reason "rack 4 is off"`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := w.options(cmd)
			if err != nil {
				return err
			}
			o.DryRun = dryRun
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				resp, err := c.ReleaseLeaseGuard(ctx, o)
				if err != nil {
					return doing("release the lease guard", err)
				}
				return a.printWrite(resp, dryRun, func(w io.Writer) { fmt.Fprintln(w, describeReleased(resp, dryRun)) })
			})
		},
	}
	w.identify(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would happen, and change nothing")
	cliflag.FlagOnly(cmd.Flags(), "dry-run")
	return cmd
}

func describeReleased(resp *rollcallv1.ReleaseLeaseGuardResponse, dryRun bool) string {
	switch {
	case !resp.GetChanged():
		return "the lease guard holds no leases; nothing changed"
	case dryRun:
		return fmt.Sprintf("the lease guard would be released, %s when it engaged; dry run, nothing changed", explain.Late(resp.GetGuard()))
	}
	return fmt.Sprintf("lease guard released, revision %d; %s when it engaged, those that are due expire now", resp.GetRevision(), explain.Late(resp.GetGuard()))
}

// checkLeases refuses ids that no lease can have, before anything is sent.
func checkLeases(ids ...string) error {
	for _, id := range ids {
		if bad := limits.LeaseID(id); bad != nil {
			return invalid("lease id %w", bad)
		}
		if id == "" {
			return invalid("lease id is empty; \"rollcall lease grant\" prints one")
		}
	}
	return nil
}

// explainHeld is the failure of a change of a report that a lease holds and the change does not name.
func explainHeld(f *failure, e *client.Error) {
	service := format.Printable(e.Service)
	for _, d := range e.GRPCStatus().Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetMetadata()["service"] != "" {
			service = format.Printable(info.GetMetadata()["service"]) // of a batch
		}
	}
	f.err = fmt.Errorf("not written: lease %s holds the report of %s, and its reporter lives", format.Printable(e.LeaseID), service)
	f.next = fmt.Sprintf("%q decides over what it reports; its reporter gives --lease %s", "rollcall override set "+service+" STATUS", format.Printable(e.LeaseID))
}

// leaseMissing is the failure of a command that names a lease which does not live.
func leaseMissing(id string) *failure {
	return &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonNotFound, lease: id, err: fmt.Errorf("lease %s does not exist", format.Printable(id)), next: leaseAdvice}
}

const leaseAdvice = `it may have ended; "rollcall lease list --all" shows the leases`
