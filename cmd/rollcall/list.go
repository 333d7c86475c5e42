package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// listSort is the value of list --sort.
type listSort string

const (
	sortName   listSort = "name"
	sortStatus listSort = "status"
	sortTime   listSort = "time"
)

var listSorts = []string{string(sortName), string(sortStatus), string(sortTime)}

func (l *listSort) String() string { return string(*l) }
func (l *listSort) Type() string   { return "order" }

func (l *listSort) Set(s string) error {
	v := strings.ToLower(s)
	if !slices.Contains(listSorts, v) {
		return fmt.Errorf("%q is no order; use %s", s, format.Alternatives(listSorts))
	}
	*l = listSort(v)
	return nil
}

// sort puts records, which are by name, in order.
func (l listSort) sort(records []*rollcallv1.ServiceRecord) {
	switch l {
	case sortStatus:
		worst := func(r *rollcallv1.ServiceRecord) int {
			return slices.Index([]client.Status{healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_UNKNOWN}, r.GetStatus())
		}
		slices.SortStableFunc(records, func(a, b *rollcallv1.ServiceRecord) int {
			return cmp.Compare(uint(worst(a)), uint(worst(b))) // -1, of all others, comes last
		})
	case sortTime:
		slices.SortStableFunc(records, func(a, b *rollcallv1.ServiceRecord) int {
			return b.GetStatusTime().AsTime().Compare(a.GetStatusTime().AsTime())
		})
	}
}

// listFlags say what is listed of what there is.
type listFlags struct {
	client.ListOptions
	sort  listSort
	limit int
}

func newListCommand(a *app) *cobra.Command {
	var statuses cliflag.Statuses
	var flags *readFlags
	f := &listFlags{sort: sortName}
	at := a.pointInTime()
	cmd := named(&cobra.Command{
		Use:     "list [PREFIX]",
		Aliases: []string{"ls"},
		Short:   "List the services, or those whose names begin with PREFIX",
		Long: `Lists the services in the order of their names. With PREFIX it lists those whose names begin with it.
The first node that answers is asked. A long list comes in pages. Each page shows one moment, and
different pages can show different moments.

A status with a star, NOT_SERVING*, is that of an override. The last column names the override, its end
and its reason, and what is reported. If reports are attached to leases, a column LEASE marks them: with
the lease's ttl, or with when it ended.

--sort status puts the worst first: NOT_SERVING, UNKNOWN, then SERVING. --sort time puts the newest
change first. --limit shows only so many; -o json says "more" if there are others.

--at lists the services as they were at a revision or a time. The whole list shows that one moment,
and never half of an atomic write.`,
		Example: `  rollcall list
  rollcall list --sort status --limit 20
  rollcall list shop/ --status not_serving,unknown
  rollcall list --at "2026-11-22 03:12"
  rollcall list --at 42 -o json`,
		Args:              between(0, "PREFIX"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Statuses = statuses
			if len(args) == 1 {
				f.Prefix = args[0]
			}
			if err := checkLookup(f.Prefix); err != nil {
				return err
			}
			if f.limit < 0 {
				return invalid("--limit is %d; it must be a number of services, or 0 for all", f.limit)
			}
			options, err := flags.options()
			if err != nil {
				return err
			}
			f.At = at.At()
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				l, err := list(reading(ctx, options), c, f)
				if err != nil {
					return doing("list services"+at.Suffix(), err)
				}
				l.Read = readOf(options)
				if f.At != nil && a.forPeople() {
					fmt.Fprintf(a.stderr, "as of revision %d\n", l.Revision)
					at.NoteRevision(a.stderr, l.Revision)
				}
				return a.printList(l, f)
			})
		},
	})
	cmd.Flags().Var(&statuses, "status", "only services with this `status`; comma separated or repeated")
	a.complete(cmd, "status", cliflag.Reportable...)
	cmd.Flags().Var(&at, "at", cliflag.PointInTimeUsage)
	cliflag.FlagOnly(cmd.Flags(), "at")
	cmd.Flags().Var(&f.sort, "sort", "`order`: "+format.Alternatives(listSorts))
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many services; 0: all")
	a.complete(cmd, "sort", listSorts...)
	flags = addReadFlags(cmd)
	return cmd
}

// listed is the JSON form of a list.
type listed struct {
	Services []apijson.Message `json:"services"`
	// Revision is what the list is as of. Without --at a long list comes in pages, and shows at least all
	// changes up to here.
	Revision int64     `json:"revision"`
	Cluster  string    `json:"cluster_id"`
	More     bool      `json:"more,omitempty"` // --limit has left out others
	Read     *readJSON `json:"read,omitempty"`

	records []*rollcallv1.ServiceRecord
}

func list(ctx context.Context, c *client.Client, f *listFlags) (*listed, error) {
	l := &listed{}
	o := f.ListOptions
	var page client.ListPage
	o.Page = &page
	if f.limit > 0 && f.sort == sortName {
		o.PageSize = min(f.limit+1, limits.MaxPageSize)
	}
	for rec, err := range c.List(ctx, o) {
		if err != nil {
			return nil, err
		}
		if f.limit > 0 && f.sort == sortName && len(l.records) == f.limit {
			l.More = true
			break
		}
		l.records = append(l.records, rec)
	}
	l.Revision, l.Cluster = page.First, page.Cluster
	if f.sort.sort(l.records); f.limit > 0 && len(l.records) > f.limit {
		l.records, l.More = l.records[:f.limit], true
	}
	l.Services = apijson.Messages(l.records)
	return l, nil
}

func (a *app) printList(l *listed, f *listFlags) error {
	names := make([]string, len(l.records))
	for i, rec := range l.records {
		names[i] = rec.GetService()
	}
	return a.print(l, names, func() error { return a.writeList(l, f) })
}

func (a *app) writeList(l *listed, f *listFlags) error {
	if len(l.records) == 0 {
		fmt.Fprintln(a.stderr, f.nothing())
		return nil
	}
	if err := newGrid(a, columnsOf(l.records)).write(l.records); err != nil {
		return err
	}
	if l.More {
		fmt.Fprintf(a.stderr, "these are the first %d; there are more\n", f.limit)
	}
	return nil
}

// nothing says why a list is empty.
func (f *listFlags) nothing() string {
	switch {
	case len(f.Statuses) > 0:
		return "no service has such a status"
	case f.At != nil:
		return "there were no services"
	case f.Prefix != "":
		why := ""
		if bad := limits.Name(f.Prefix); bad != nil && bad.Problem != limits.Reserved {
			why = ", and none can: " + bad.Plain()
		}
		return fmt.Sprintf("no service begins with %q%s", f.Prefix, why)
	}
	return `no services yet; "rollcall set NAME serving" makes one`
}
