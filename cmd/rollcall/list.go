package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newListCommand(a *app) *cobra.Command {
	var statuses cliflag.Statuses
	var flags *readFlags
	at := a.pointInTime()
	cmd := &cobra.Command{
		Use:     "list [PREFIX]",
		Aliases: []string{"ls"},
		Short:   "List the services, or those whose names begin with PREFIX",
		Long: `Lists the services by name, or those whose names begin with PREFIX, as the first node that answers
knows them. Long lists come in pages: each is one consistent cut, two of them may differ.

With --at it lists what there was at a revision or a time, and says which revision that was: all of
it is one cut, and never shows half of an atomic write.`,
		Example: `  rollcall list
  rollcall list shop/ --status not_serving,unknown
  rollcall list --at "2026-11-22 03:12"
  rollcall list --at 42 -o json`,
		Args:              between(0, "PREFIX"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := client.ListOptions{Statuses: statuses}
			if len(args) == 1 {
				o.Prefix = args[0]
			}
			if err := checkLookup(o.Prefix); err != nil {
				return err
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			var revision int64
			o.At, o.AsOf = at.At(), &revision
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				records := []*rollcallv1.ServiceRecord{}
				for rec, err := range c.List(reading(ctx, options), o) {
					if err != nil {
						return doing("list services"+at.Suffix(), err)
					}
					records = append(records, rec)
				}
				if o.At == nil {
					revision = 0
				}
				if a.json() {
					return a.printRecords(records, revision)
				}
				if o.At != nil {
					fmt.Fprintf(a.stderr, "as of revision %d\n", revision)
					at.NoteRevision(a.stderr, revision)
				}
				return a.listRecords(records, o)
			})
		},
	}
	cmd.Flags().Var(&statuses, "status", "only services with this `status`; comma separated or repeated")
	complete(cmd, "status", cliflag.Reportable...)
	cmd.Flags().Var(&at, "at", cliflag.PointInTimeUsage)
	cliflag.FlagOnly(cmd.Flags(), "at")
	flags = addReadFlags(cmd)
	return cmd
}

// printRecords writes the records and their revision. Revision 0 stands for now and is left out.
func (a *app) printRecords(records []*rollcallv1.ServiceRecord, revision int64) error {
	out := struct {
		Services []json.RawMessage `json:"services"`
		Revision int64             `json:"revision,omitempty"`
	}{make([]json.RawMessage, 0, len(records)), revision}
	for _, rec := range records {
		b, err := format.Message(rec)
		if err != nil {
			return err
		}
		out.Services = append(out.Services, b)
	}
	return a.printObject(out)
}

func (a *app) listRecords(records []*rollcallv1.ServiceRecord, o client.ListOptions) error {
	if len(records) == 0 {
		switch {
		case len(o.Statuses) > 0:
			fmt.Fprintln(a.stderr, "no service has such a status")
		case o.At != nil:
			fmt.Fprintln(a.stderr, "there were no services")
		case o.Prefix != "":
			why := ""
			if bad := limits.Name(o.Prefix); bad != nil && bad.Problem != limits.Reserved {
				why = ", and none can: " + bad.Plain()
			}
			fmt.Fprintf(a.stderr, "no service begins with %q%s\n", o.Prefix, why)
		default:
			fmt.Fprintln(a.stderr, `no services yet; "rollcall set NAME serving" makes one`)
		}
		return nil
	}
	now := a.now()
	return format.Table(a.stdout, func(row func(...string)) {
		row("SERVICE", "STATUS", "SINCE", "REVISION", "ACTOR", "REASON")
		for _, rec := range records {
			report := rec.GetReport()
			row(format.Service(rec.GetService()), rec.GetStatus().String(), format.Ago(now, rec.GetStatusTime()),
				fmt.Sprint(report.GetRevision()), actorName(report), format.OrDash(report.GetReason()))
		}
	})
}
