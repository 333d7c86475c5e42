package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newGetCommand(a *app) *cobra.Command {
	var flags *readFlags
	at := a.pointInTime()
	cmd := named(&cobra.Command{
		Use:   "get SERVICE",
		Short: "Show one service: status, who reported it, when and why",
		Long: `Shows the status of one service: since when, who reported it, and why.

A status with a star, NOT_SERVING*, is that of an override. What is reported, and other overrides, stand
beneath it. LEASE is the lease that the report is attached to: how long it has left, and what the report
turns to then. "rollcall why" says it in sentences.

The first node that answers is asked. It may be a moment behind the others. --linearizable shows every
change that was acknowledged before; --min-revision and --max-staleness ask for less. With one of
these, -o json also says which node answered and how old the answer can be.

--at shows the service as it was at a revision or a time, and says which revision that was. Inside an
atomic write, that is the revision before the write.

Some names belong to the node that answers: "" (ready), rollcall.live, rollcall.reads and
rollcall.leader. They have a status only. Choose the node with --endpoints.`,
		Example: `  rollcall get shop/cart
  rollcall get shop/cart --linearizable
  rollcall get shop/cart --at 42
  rollcall get shop/cart --at 10m
  rollcall get shop/cart --at "2026-11-22 03:12"
  rollcall get rollcall.leader -e 127.0.0.1:7610`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			if err := checkLookup(service); err != nil {
				return err
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			if at.Given() && rollcallv1.IsOwn(service) {
				return invalid("%s is a name that nodes answer for themselves, and has no past", format.Service(service))
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				if rollcallv1.IsOwn(service) {
					return a.getOwn(ctx, c, service, options)
				}
				resp, err := c.GetAt(reading(ctx, options), service, at.At())
				if err != nil {
					failed := &attempt{what: "get " + service + at.Suffix(), err: err}
					if at.Given() {
						failed.notFound = fmt.Sprintf("%q shows when it did", "rollcall history "+service)
					}
					return failed
				}
				if at.Given() && a.forPeople() {
					at.NoteRevision(a.stderr, resp.GetRevision())
				}
				var guard *rollcallv1.LeaseGuard
				if !at.Given() {
					guard = completeLease(ctx, c, resp, options)
				}
				return a.printRecord(resp, guard, at.Given(), options)
			})
		},
	})
	cmd.Flags().Var(&at, "at", cliflag.PointInTimeUsage)
	cliflag.FlagOnly(cmd.Flags(), "at")
	flags = addReadFlags(cmd)
	return cmd
}

// gotten is the JSON form of one service.
type gotten struct {
	Service  apijson.Message `json:"service"`
	Revision int64           `json:"revision"`
	Cluster  string          `json:"cluster_id"`
	Read     *readJSON       `json:"read,omitempty"`
}

func (a *app) printRecord(resp *rollcallv1.GetServiceResponse, guard *rollcallv1.LeaseGuard, past bool, o *client.ReadOptions) error {
	rec := resp.GetService()
	out := gotten{apijson.Message{Message: rec}, resp.GetRevision(), resp.GetClusterId(), readOf(o)}
	return a.print(out, []string{rec.GetService()}, func() error {
		switch {
		case a.output == formatWide:
			return newGrid(a, serviceColumns).write([]*rollcallv1.ServiceRecord{rec})
		case past:
			return a.writePastRecord(resp)
		}
		return a.writeRecord(rec, guard)
	})
}

// gottenOwn is the JSON form of one of a node's own names, which have a status only.
type gottenOwn struct {
	Service ownStatus `json:"service"`
	Read    *readJSON `json:"read,omitempty"`
}

type ownStatus struct {
	Service string `json:"service"`
	Status  string `json:"status"`
}

func (a *app) getOwn(ctx context.Context, c *client.Client, service string, options *client.ReadOptions) error {
	status, err := c.Check(reading(ctx, options), service)
	if err != nil {
		return doing("get "+format.Service(service), err)
	}
	out := gottenOwn{ownStatus{service, status.String()}, readOf(options)}
	return a.print(out, []string{service}, func() error {
		if a.output == formatWide {
			return newGrid(a, serviceColumns).write([]*rollcallv1.ServiceRecord{{Service: service, Status: status}})
		}
		return a.writeRecord(&rollcallv1.ServiceRecord{Service: service, Status: status}, nil)
	})
}

func (a *app) writeRecord(rec *rollcallv1.ServiceRecord, guard *rollcallv1.LeaseGuard) error {
	held := ""
	if since := rec.GetStatusTime(); since != nil {
		held = " for " + format.Age(a.now(), since)
	}
	return a.writeCells(rec, guard, held, "")
}

// writePastRecord writes a record of the past. It does not say for how long the status has held: it may not
// hold any more.
func (a *app) writePastRecord(resp *rollcallv1.GetServiceResponse) error {
	held := ""
	if since := resp.GetService().GetStatusTime(); since != nil {
		held = " since " + format.Timestamp(since)
	}
	return a.writeCells(resp.GetService(), nil, held, fmt.Sprintf("revision %d", resp.GetRevision()))
}

// writeCells writes a record with a line for each of its parts. held is for how long its status has held.
func (a *app) writeCells(rec *rollcallv1.ServiceRecord, guard *rollcallv1.LeaseGuard, held, asOf string) error {
	var rows [][]format.Cell
	row := func(header string, cell format.Cell) { rows = append(rows, []format.Cell{text(header), cell}) }
	row("SERVICE", text(format.Service(rec.GetService())))
	if asOf != "" {
		row("AS OF", text(asOf))
	}
	status := format.Cell{Text: explain.Status(rec) + held, Tone: format.StatusTone(rec.GetStatus())}
	row("STATUS", status)
	if o := rec.GetOverride(); o != nil {
		row("BECAUSE", text(explain.Override(a.now(), o)))
	}
	for _, o := range rec.GetShadowed() {
		row("BENEATH", text(explain.Override(a.now(), o)+" ("+o.GetStatus().String()+")"))
	}
	if report := rec.GetReport(); report != nil {
		if rec.GetOverride() != nil || report.GetStatus() != rec.GetStatus() {
			row("REPORTED", statusCell(report.GetStatus()))
		}
		row("REASON", text(format.OrDash(report.GetReason())))
		row("ACTOR", text(describeActor(report.GetActor())))
		row("TIME", text(fmt.Sprintf("%s (%s)", format.Timestamp(report.GetTime()), format.Ago(a.now(), report.GetTime()))))
		row("REVISION", text(fmt.Sprint(report.GetRevision())))
		if l := rec.GetLease(); l != nil {
			row("LEASE", text(explain.Lease(a.now(), l, guard)))
		} else if id := report.GetLeaseId(); id != "" {
			row("LEASE", text(id))
		}
	}
	out := format.Columns{W: a.stdout, Color: a.colors()}
	return out.Write(rows)
}

func describeActor(actor *rollcallv1.Actor) string {
	name := explain.ActorOrDash(actor)
	if peer := actor.GetPeer(); peer != "" {
		name += " from " + format.Printable(peer)
	}
	if actor != nil && !actor.GetVerified() {
		name += " (unverified)"
	}
	return name
}
