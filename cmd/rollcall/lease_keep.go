package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newLeaseKeepAliveCommand(a *app) *cobra.Command {
	var ignored time.Duration
	cmd := named(&cobra.Command{
		Use:        "keep-alive ID...",
		SuggestFor: []string{"renew", "keepalive", "heartbeat"},
		Short:      "Renew leases until Ctrl-C",
		Long: `Renews leases until Ctrl-C, through whichever node answers, also while the cluster elects a leader. Each
is renewed when a third of its ttl has passed. It prints what changes: renewed for the first time, overdue
(no renewal was acknowledged for the whole ttl: it may be lost), renewed again, lost (it has ended).

Ctrl-C stops it, and the leases expire after their ttl; "rollcall lease revoke" ends one at once. When all
leases are lost it ends by itself.

Exit status: 0 it was stopped, and every lease lived; 4 a lease was lost. There is no --timeout. With
-o json each change is an object on a line.`,
		Example: `  rollcall lease keep-alive 3f9ac2d18e6b4f05
  rollcall lease keep-alive 3f9ac2d18e6b4f05 8b1fd5c07a2e9364 -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") {
				return invalid("keep-alive goes on until it is interrupted and has no --timeout")
			}
			return atLeastOne("ID")(cmd, args)
		},
		ValidArgsFunction: a.completeLeases(100),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLeases(args...); err != nil {
				return err
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.keepAlive(cmd.Context(), c, args)
		},
	})
	hideTimeout(cmd, &ignored)
	return cmd
}

// hideTimeout hides the global flag: ROLLCALL_TIMEOUT must not end what goes on until it is interrupted.
func hideTimeout(cmd *cobra.Command, ignored *time.Duration) {
	cliflag.DurationVar(cmd.Flags(), ignored, "timeout", 0, "does not apply")
	cmd.Flags().Lookup("timeout").Hidden = true
	cliflag.FlagOnly(cmd.Flags(), "timeout")
}

// keepAlive renews leases until ctx ends or all are lost.
func (a *app) keepAlive(ctx context.Context, c *client.Client, ids []string) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if err := a.reach(ctx, c, "renew leases"); err != nil {
		return err
	}
	silent := a.noteSilence(ctx, c)
	defer silent()
	if a.forPeople() {
		fmt.Fprintf(a.stderr, "renewing %s; Ctrl-C stops it, and what is not renewed expires\n", format.Count(len(ids), "lease", "leases"))
	}
	var lost []string
	for r, err := range c.KeepAlive(ctx, ids...) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return doing("renew leases", err)
		}
		silent()
		change := leaseChange{LeaseID: r.LeaseID, Change: leaseRenewed, Until: r.Until}
		switch r.State {
		case client.LeaseLost:
			lost = append(lost, r.LeaseID)
			change.Change = leaseLost
		case client.LeaseOverdue:
			change.Change = leaseOverdue
		}
		a.printLeaseChange(change) // whoever renews goes on when nobody reads it; finish reports the error
	}
	if len(lost) > 0 {
		return notAsAsked(fmt.Errorf("lost: %s", strings.Join(lost, ", ")))
	}
	return nil
}

// reach makes sure that some node knows of leases. What goes on for ever would try for ever, also where there is
// none.
func (a *app) reach(ctx context.Context, c *client.Client, what string) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, err := range c.ListLeases(ctx, client.ListLeasesOptions{PageSize: 1}) {
		if err != nil {
			return doing(what, err)
		}
		break
	}
	return nil
}

// What can become of a lease, as programs read it.
const (
	leaseGranted  = "granted"
	leaseReported = "reported" // all services are attached to it
	leaseRenewed  = "renewed"
	leaseOverdue  = "overdue"
	leaseLost     = "lost"
	leaseFailed   = "failed" // to grant it or to report
	leaseRevoked  = "revoked"
)

// leaseChange is something that became of a lease.
type leaseChange struct {
	LeaseID  string
	Change   string
	Until    time.Time // it surely lives until then; zero: nothing is sure
	Revision int64     // of the event that granted it
	Service  string    // that could not be reported
	Ends     bool      // it was refused when it was to be reported for the first time: nothing is tried again
	Err      error
	Words    string   // for people, instead of the usual ones
	Names    []string // for -o name; none: the lease
}

// leaseChangeJSON is its JSON form.
type leaseChangeJSON struct {
	Time     apijson.Time  `json:"time"`
	LeaseID  string        `json:"lease_id"`
	Change   string        `json:"change"`
	Until    *apijson.Time `json:"until_time,omitempty"`
	Revision int64         `json:"revision,omitempty"`
	Service  string        `json:"service,omitempty"`
	Error    string        `json:"error,omitempty"`
}

func (a *app) printLeaseChange(c leaseChange) error {
	out := leaseChangeJSON{Time: apijson.Time{Time: a.now()}, LeaseID: c.LeaseID, Change: c.Change, Revision: c.Revision, Service: c.Service}
	if !c.Until.IsZero() && c.Change == leaseRenewed {
		out.Until = &apijson.Time{Time: c.Until}
	}
	if c.Err != nil {
		f := a.explain(c.Err)
		if len(f.broken) > 0 {
			f.next = "" // what goes on cannot break rules
		}
		out.Error = f.Error()
	}
	names := c.Names
	if len(names) == 0 {
		names = []string{c.LeaseID}
	}
	return a.printPart(out, names, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s  %s\n", a.localTime(a.now()), c.text(out.Error))
		return err
	})
}

// text says a change for people. why is what failed.
func (c *leaseChange) text(why string) string {
	lease := "lease " + format.Printable(c.LeaseID)
	if c.LeaseID == "" {
		lease = "no lease yet"
	}
	switch {
	case c.Words != "":
		return lease + " " + c.Words
	case c.Change == leaseOverdue:
		return lease + " overdue: no renewal was acknowledged for its whole ttl, it may be lost"
	case c.Change == leaseLost:
		return lease + " lost: it has ended, or never was"
	case c.Ends:
		return fmt.Sprintf("%s: %s is not reported: %s", lease, format.Service(c.Service), why)
	case c.Change == leaseFailed && c.Service != "":
		return fmt.Sprintf("%s: %s is not reported, it is tried again: %s", lease, format.Service(c.Service), why)
	case c.Change == leaseFailed:
		return fmt.Sprintf("%s, it is tried again: %s", lease, why)
	}
	return lease + " " + c.Change
}
