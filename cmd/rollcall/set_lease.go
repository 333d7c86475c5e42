package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// setLease are the flags of set that attach reports to a lease: to one that there is, or to a new one.
type setLease struct {
	id        string
	flags     leaseFlags
	keepAlive bool
	onStop    cliflag.OnStop
}

func (l *setLease) register(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	leaseFlag(a, cmd, &l.id, "attach the reports to this lease, by its `id`")
	l.flags.register(a, cmd, 0, "attach the reports to a new lease, which expires when it is not renewed for so long, 1s to 24h")
	f.BoolVar(&l.keepAlive, "keep-alive", false, "with --ttl: renew the lease until Ctrl-C")
	f.Var(&l.onStop, "on-stop", "with --keep-alive: what Ctrl-C does to the reports: "+format.Alternatives(cliflag.Stops))
	cliflag.FlagOnly(f, "keep-alive", "on-stop")
	a.complete(cmd, "on-stop", cliflag.Stops...)
}

// leaseFlag is the flag --lease.
func leaseFlag(a *app, cmd *cobra.Command, id *string, usage string) {
	cmd.Flags().StringVar(id, "lease", "", usage)
	cliflag.NotEmpty(cmd.Flags(), "lease")
	// A variable would attach every report from then on, unseen.
	cliflag.FlagOnly(cmd.Flags(), "lease")
	a.completeFlag(cmd, "lease", a.completeFlagLease)
}

// check refuses flags that make no sense together.
func (l *setLease) check(cmd *cobra.Command, o client.WriteOptions) error {
	given := cmd.Flags().Changed
	if given("lease") {
		if err := checkLeases(l.id); err != nil {
			return err
		}
	}
	if !given("ttl") {
		switch {
		case l.keepAlive && given("lease"):
			return withNext(invalid("--keep-alive renews a new lease, of --ttl"), `"rollcall lease keep-alive" renews one that there is`)
		case l.keepAlive:
			return withNext(invalid("--keep-alive needs --ttl"), "it says how soon the reports turn when nobody renews them")
		}
		for _, flag := range []string{"on-expiry", "forget-after"} {
			if given(flag) {
				return invalid("--%s says what a new lease is like, and needs --ttl", flag)
			}
		}
	}
	switch {
	case given("on-stop") && !l.keepAlive:
		return invalid("--on-stop says what the end of --keep-alive does, which is not given")
	case !given("ttl"):
		return nil
	case given("lease"):
		return invalid("--ttl makes a new lease, and --lease names one that there is: give one of them")
	case o.DryRun:
		return invalid("--dry-run cannot be given with --ttl: it makes no lease that the reports could be attached to")
	case l.keepAlive && o.IfRevision != nil:
		return invalid("--keep-alive reports again whenever it must, and cannot be given with --if-revision")
	case l.keepAlive && o.RequestID != "":
		return invalid("--keep-alive makes more changes than one, and cannot be given with --request-id")
	case l.keepAlive && len(o.BreakGlass) > 0:
		return invalid("--keep-alive reports again whenever it must, and cannot be given with --break-glass")
	case l.keepAlive && cliflag.Given(cmd.Flags(), "timeout"):
		return invalid("--keep-alive goes on until it is interrupted and has no --timeout")
	case len(o.RequestID)+len(grantSuffix) > limits.MaxRequestIDBytes:
		return invalid("--request-id is %d bytes long; at most %d are allowed with --ttl", len(o.RequestID), limits.MaxRequestIDBytes-len(grantSuffix))
	}
	return nil
}

// grantSuffix makes the request id of the grant of that of the report: both are done once.
const grantSuffix = "/lease"

// grant makes the lease that the reports are to be attached to, and returns what to say of it.
func (l *setLease) grant(ctx context.Context, c *client.Client, options client.LeaseOptions, o *client.WriteOptions) (note string, err error) {
	of := client.WriteOptions{Reason: o.Reason, Actor: o.Actor, Cluster: o.Cluster}
	if o.RequestID != "" {
		of.RequestID = o.RequestID + grantSuffix
	}
	resp, err := c.GrantLease(ctx, options, of)
	if err != nil {
		return "", doing("grant a lease", err)
	}
	o.LeaseID = resp.GetLeaseId()
	id := format.Printable(o.LeaseID)
	return fmt.Sprintf("lease %s expires in %s unless it is renewed: then %s; %q renews it", id, format.Duration(options.TTL), l.flags.ending(), "rollcall lease keep-alive "+id), nil
}

// keep reports changes on a lease of its own, which it renews until the command is interrupted.
func (l *setLease) keep(a *app, cmd *cobra.Command, changes []client.Change, options client.LeaseOptions, o client.WriteOptions) error {
	ctx := cmd.Context()
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := a.reach(ctx, c, l.what(changes)); err != nil {
		return err
	}
	silent := a.noteSilence(ctx, c)
	defer silent()
	k := &keeping{a: a, l: l, changes: changes, refused: map[string]bool{}}
	lease, err := c.KeepLease(options, client.KeepOptions{Reason: o.Reason, Actor: o.Actor, Cluster: o.Cluster, OnStop: client.OnStop(l.onStop), OnEvent: k.happened})
	if err != nil {
		return invalid("%w", err)
	}
	reports := make([]client.Report, len(changes))
	for i, change := range changes {
		reports[i] = client.Report{Service: change.Service, Status: change.Status, Reason: o.Reason}
	}
	if err := lease.ReportBatch(ctx, reports); err != nil {
		if ctx.Err() != nil {
			k.interrupted.Store(true)
			err = &failure{exit: exitNotDone, code: codes.Canceled, reason: reasonInterrupted, err: fmt.Errorf("interrupted: %s not done", l.what(changes))}
		}
		return k.abandon(ctx, lease, err)
	}
	silent()
	<-ctx.Done()
	return k.close(ctx, lease)
}

func (l *setLease) what(changes []client.Change) string {
	if len(changes) == 1 {
		return "set " + changes[0].Service
	}
	return fmt.Sprintf("set %d services", len(changes))
}

// stopText says what Ctrl-C does.
func (l *setLease) stopText() string {
	switch client.OnStop(l.onStop) {
	case client.StopWithdraw:
		return "deletes what is reported"
	case client.StopLeave:
		return "leaves what is reported, without a lease"
	}
	return "reports NOT_SERVING"
}

// stoppedText says what Ctrl-C did.
func (l *setLease) stoppedText() string {
	switch client.OnStop(l.onStop) {
	case client.StopWithdraw:
		return "its services are deleted"
	case client.StopLeave:
		return "its services stay as they are"
	}
	return "its services are NOT_SERVING"
}

// keeping is a lease that set keeps alive, as it goes on.
type keeping struct {
	a       *app
	l       *setLease
	changes []client.Change
	begun   bool // everything was reported once
	// What ends the lease is the last that is told of it: first reports that were refused, each once, or an interrupt.
	refused     map[string]bool // by service; "" for the grant
	interrupted atomic.Bool
}

// happened prints what becomes of the lease. An error of the output is reported at the end: see finish.
func (k *keeping) happened(e client.LeaseEvent) {
	ends := e.Refused && !k.begun
	if k.interrupted.Load() || k.refused[e.Service] || len(k.refused) > 0 && !ends {
		return
	}
	if ends {
		k.refused[e.Service] = true
	}
	change := leaseChange{LeaseID: e.LeaseID, Service: e.Service, Err: e.Err}
	if k.a.output == formatName && (k.begun || e.Type != client.LeaseReported) {
		return
	}
	switch e.Type {
	case client.LeaseGranted:
		change.Change, change.Revision = leaseGranted, e.Revision
		if k.a.forPeople() {
			return // said with what is reported
		}
	case client.LeaseReported:
		change.Change, change.Names = leaseReported, k.names()
		change.Words = "has the report of " + k.reports()
		if k.begun {
			change.Words = "has the report again of " + k.reports()
		}
		defer k.begin()
	case client.LeaseWasLost:
		change.Change = leaseLost
		change.Words = "lost: a new one is granted, and everything is reported again"
	case client.LeaseBecameOverdue:
		change.Change = leaseOverdue
	case client.LeaseRenewedAgain:
		change.Change, change.Words = leaseRenewed, "renewed again"
	case client.LeaseFailed:
		change.Change, change.Ends = leaseFailed, ends
		if ends && e.Service == "" {
			return // said at the end
		}
	default:
		return // of a newer client
	}
	k.a.printLeaseChange(change)
}

// begin says how it goes on, when everything is reported for the first time.
func (k *keeping) begin() {
	if !k.begun && k.a.forPeople() {
		fmt.Fprintf(k.a.stderr, "renewing it; Ctrl-C %s; if nobody renews it for %s: %s\n", k.l.stopText(), format.Duration(k.l.flags.ttl), k.l.flags.ending())
	}
	k.begun = true
}

func (k *keeping) names() []string {
	names := make([]string, len(k.changes))
	for i, change := range k.changes {
		names[i] = change.Service
	}
	return names
}

// reports says what is reported: "shop/cart SERVING", "3 services".
func (k *keeping) reports() string {
	if len(k.changes) == 1 {
		return k.changes[0].Service + " " + k.changes[0].Status.String()
	}
	return format.Count(len(k.changes), "service", "services")
}

// abandon ends a lease whose first report failed, and returns what to say of why. ctx may be over.
func (k *keeping) abandon(ctx context.Context, lease *client.Lease, why error) error {
	f := k.a.explain(doing(k.l.what(k.changes), why))
	if len(f.broken) > 0 {
		f.next = "to do it all the same, report without --keep-alive: --break-glass " + explain.Names(f.broken) + " and a --reason; \"rollcall lease keep-alive\" renews its lease then"
	}
	id := lease.ID()
	ctx, cancel, err := k.a.withTimeout(context.WithoutCancel(ctx))
	if err != nil {
		return f
	}
	defer cancel()
	if lease.Close(ctx) == nil && id != "" && k.a.output != formatName {
		k.a.printLeaseChange(leaseChange{LeaseID: id, Change: leaseRevoked})
	}
	return f // a lease that could not be revoked expires
}

// close ends the lease as its reporter's last word. ctx may be over.
func (k *keeping) close(ctx context.Context, lease *client.Lease) error {
	id := lease.ID()
	ctx, cancel, err := k.a.withTimeout(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer cancel()
	if err := lease.Close(ctx); err != nil && client.IsLeaseLost(err) {
		return notAsAsked(fmt.Errorf("lease %s had ended before: what it reported is %s", id, k.l.flags.ending()))
	} else if err != nil {
		f := k.a.explain(&attempt{what: "revoke lease " + id, err: err})
		f.next = fmt.Sprintf("it expires by itself within %s: then %s", format.Duration(k.l.flags.ttl), k.l.flags.ending())
		return f
	}
	if id == "" {
		return nil // none was granted
	}
	if k.a.output == formatName {
		return nil
	}
	return k.a.printLeaseChange(leaseChange{LeaseID: id, Change: leaseRevoked, Words: "revoked: " + k.l.stoppedText()})
}
