package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newLeaseListCommand(a *app) *cobra.Command {
	var (
		flags *readFlags
		all   bool
	)
	cmd := &cobra.Command{
		Use:     "list [ID]",
		Aliases: []string{"ls"},
		Short:   "List the leases that live: time left, services, what comes then",
		Long: `Lists the leases that live, by id, or the one with this id: how long each has left, to how many reports
it is attached, what they turn to when it expires, who was granted it and why. LEFT is what the leader
says: "late" means that it should have been renewed by now, "due for 5s" that it is held by the lease
guard or about to expire, "-" that no leader answered.

--all also lists leases that have ended, and whose reports are still to be deleted (--forget-after).`,
		Example: `  rollcall lease list
  rollcall lease list --all -o json`,
		Args:              between(0, "ID"),
		ValidArgsFunction: a.completeLeases(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLeases(args...); err != nil {
				return err
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			o := client.ListLeasesOptions{All: all, LeaseID: strings.Join(args, "")}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				list := &rollcallv1.ListLeasesResponse{}
				o.AsOf, o.Guard = &list.Revision, &list.Guard
				for l, err := range c.ListLeases(reading(ctx, options), o) {
					if err != nil {
						return doing("list leases", err)
					}
					list.Leases = append(list.Leases, l)
				}
				list.ClusterId = c.Cluster()
				if o.LeaseID != "" && len(list.Leases) == 0 {
					return leaseMissing(o.LeaseID)
				}
				return a.printLeases(list)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list those too that have ended, and whose reports are still to be deleted")
	cliflag.FlagOnly(cmd.Flags(), "all")
	flags = addReadFlags(cmd)
	return named(cmd)
}

func (a *app) printLeases(list *rollcallv1.ListLeasesResponse) error {
	ids := make([]string, len(list.GetLeases()))
	for i, l := range list.GetLeases() {
		ids[i] = l.GetLeaseId()
	}
	return a.printMessage(list, ids, func() error {
		if len(ids) == 0 {
			fmt.Fprintln(a.stderr, "no lease lives")
		} else if err := newGrid(a, leaseColumns).write(list.GetLeases()); err != nil {
			return err
		}
		if held := explain.Guard(a.now(), list.GetGuard()); held != "" {
			return a.writeProblem(held)
		}
		return nil
	})
}

var leaseColumns = []column[*rollcallv1.Lease]{
	{header: "LEASE", cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(l.GetLeaseId()) }},
	{header: "TTL", cell: func(_ view, l *rollcallv1.Lease) format.Cell {
		return text(format.Duration(l.GetTtl().AsDuration()))
	}},
	{header: "LEFT", cell: func(v view, l *rollcallv1.Lease) format.Cell {
		tone := toneIf(l.GetLate(), format.Doubtful)
		switch {
		case l.GetEndTime() != nil:
			tone = format.Faint
		case l.GetTimeLeft() != nil && l.GetTimeLeft().AsDuration() < 0:
			tone = format.Bad
		}
		return format.Cell{Text: explain.LeaseLeft(v.now, l), Tone: tone}
	}},
	{header: "SERVICES", cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(fmt.Sprint(l.GetServiceCount())) }},
	{header: "THEN", cell: func(v view, l *rollcallv1.Lease) format.Cell { return text(explain.LeaseEnd(v.now, l)) }},
	{header: "GRANTED", cell: func(v view, l *rollcallv1.Lease) format.Cell { return text(format.Ago(v.now, l.GetTime())) }},
	{header: "REVISION", wide: true, cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(fmt.Sprint(l.GetRevision())) }},
	{header: "TIME", wide: true, cell: func(v view, l *rollcallv1.Lease) format.Cell { return text(v.timeOrDash(l.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(explain.ActorOrDash(l.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(format.OrDash(l.GetActor().GetPeer())) }},
	{header: "REASON", cell: func(_ view, l *rollcallv1.Lease) format.Cell { return text(format.OrDash(l.GetReason())) }},
}

// completeLease adds to the answer for one service what only the leader knows of the lease that its report is
// attached to, and returns the lease guard. Without an answer, the record stays as it is.
func completeLease(ctx context.Context, c *client.Client, resp *rollcallv1.GetServiceResponse, options *client.ReadOptions) *rollcallv1.LeaseGuard {
	rec := resp.GetService()
	if rec.GetLease() == nil {
		return nil
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var guard *rollcallv1.LeaseGuard
	o := client.ListLeasesOptions{LeaseID: rec.GetLease().GetLeaseId(), All: true, Guard: &guard}
	for l, err := range c.ListLeases(reading(ctx, notBefore(resp, options)), o) {
		// One that has ended since is shown by the next answer: its report is another one.
		if err != nil || (l.GetEndTime() != nil) != (rec.GetLease().GetEndTime() != nil) {
			return nil
		}
		rec.Lease = l
	}
	return guard
}

// completeLeases offers ids of leases that live, for at most so many arguments.
func (a *app) completeLeases(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.leaseIDs(cmd, toComplete, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlagLease offers ids of leases as the value of a flag.
func (a *app) completeFlagLease(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.leaseIDs(cmd, toComplete, nil), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) leaseIDs(cmd *cobra.Command, prefix string, given []string) []string {
	return a.offer(cmd, func(ctx context.Context, c *client.Client) (ids []string) {
		for l, err := range c.ListLeases(ctx, client.ListLeasesOptions{}) {
			if err != nil || len(ids) == completionNames {
				break
			}
			if strings.HasPrefix(l.GetLeaseId(), prefix) && !slices.Contains(given, l.GetLeaseId()) {
				ids = append(ids, l.GetLeaseId())
			}
		}
		return ids
	})
}
