package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newGetCommand(a *app) *cobra.Command {
	var flags *readFlags
	at := a.pointInTime()
	cmd := &cobra.Command{
		Use:   "get SERVICE",
		Short: "Show one service: status, who reported it, when and why",
		Long: `Shows one service as the first node that answers knows it: its status, and who reported it, when
and why. That node may be behind; --linearizable, --min-revision and --max-staleness say how far it
may be, and with any of them -o json tells which node it was and how old its answer may be.

With --at it shows the service as it was at a revision or a time, and which revision that was. A
revision inside an atomic write stands for the one before that write.

The names that nodes answer for themselves have a status only, of the node that answers; choose it
with --endpoints: "" (ready), rollcall.live, rollcall.reads, rollcall.leader.`,
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
				if a.json() {
					return a.printRecord(resp, options)
				}
				if at.Given() {
					at.NoteRevision(a.stderr, resp.GetRevision())
					return writePastRecord(a.stdout, a.now(), resp)
				}
				return writeRecord(a.stdout, a.now(), resp.GetService())
			})
		},
	}
	cmd.Flags().Var(&at, "at", cliflag.PointInTimeUsage)
	cliflag.FlagOnly(cmd.Flags(), "at")
	flags = addReadFlags(cmd)
	return cmd
}

func (a *app) printRecord(resp *rollcallv1.GetServiceResponse, o *client.ReadOptions) error {
	if o == nil {
		return a.printMessage(resp)
	}
	rec, err := format.Message(resp.GetService())
	if err != nil {
		return err
	}
	return a.printObject(struct {
		Service  json.RawMessage `json:"service"`
		Revision int64           `json:"revision"`
		Cluster  string          `json:"cluster_id"`
		Read     *readJSON       `json:"read"`
	}{rec, resp.GetRevision(), resp.GetClusterId(), readOf(o)})
}

// ownStatus is the JSON form of one of a node's own names, which have no record. Its fields are a part of
// GetServiceResponse's.
type ownStatus struct {
	Service struct {
		Service string `json:"service"`
		Status  string `json:"status"`
	} `json:"service"`
	Read *readJSON `json:"read,omitempty"`
}

func (a *app) getOwn(ctx context.Context, c *client.Client, service string, options *client.ReadOptions) error {
	status, err := c.Check(reading(ctx, options), service)
	if err != nil {
		return doing("get "+format.Service(service), err)
	}
	if a.json() {
		var o ownStatus
		o.Service.Service, o.Service.Status = service, status.String()
		o.Read = readOf(options)
		return a.printObject(o)
	}
	return format.Table(a.stdout, func(row func(...string)) {
		row("SERVICE", format.Service(service))
		row("STATUS", status.String())
	})
}

func writeRecord(w io.Writer, now time.Time, rec *rollcallv1.ServiceRecord) error {
	status := rec.GetStatus().String()
	if since := rec.GetStatusTime(); since != nil {
		status += " for " + format.Age(now, since)
	}
	return writeCells(w, now, rec, status, "")
}

// writePastRecord writes a record of the past. It does not say for how long the status has held: it may not
// hold any more.
func writePastRecord(w io.Writer, now time.Time, resp *rollcallv1.GetServiceResponse) error {
	rec := resp.GetService()
	status := rec.GetStatus().String()
	if since := rec.GetStatusTime(); since != nil {
		status += " since " + format.Timestamp(since)
	}
	return writeCells(w, now, rec, status, fmt.Sprintf("revision %d", resp.GetRevision()))
}

func writeCells(w io.Writer, now time.Time, rec *rollcallv1.ServiceRecord, status, asOf string) error {
	report := rec.GetReport()
	return format.Table(w, func(row func(...string)) {
		row("SERVICE", format.Service(rec.GetService()))
		if asOf != "" {
			row("AS OF", asOf)
		}
		row("STATUS", status)
		if report == nil {
			return
		}
		if report.GetStatus() != rec.GetStatus() {
			row("REPORTED", report.GetStatus().String())
		}
		row("REASON", format.OrDash(report.GetReason()))
		row("ACTOR", describeActor(report.GetActor()))
		row("TIME", fmt.Sprintf("%s (%s)", format.Timestamp(report.GetTime()), format.Ago(now, report.GetTime())))
		row("REVISION", fmt.Sprint(report.GetRevision()))
	})
}

func describeActor(actor *rollcallv1.Actor) string {
	name := format.OrDash(actor.GetName())
	if peer := actor.GetPeer(); peer != "" {
		name += " from " + format.Printable(peer)
	}
	if actor != nil && !actor.GetVerified() {
		name += " (unverified)"
	}
	return name
}
