package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// eventFlags say which events are wanted.
type eventFlags struct {
	follow       bool
	from, to     int64
	since, until cliflag.Time
	actor        string
	types        cliflag.EventTypes
	service      string
	limit        int
	reverse      bool
	read         *readFlags
}

func newEventsCommand(a *app) *cobra.Command {
	f := &eventFlags{since: a.time(), until: a.time()}
	cmd := &cobra.Command{
		Use:   "events [PREFIX...]",
		Short: "Show what happened: every change, in order",
		Long: `Shows the events that are kept, oldest first. An event is one change. With PREFIX it shows the events
of services whose names begin with one of the prefixes. Several flags that choose must all hold. With
-o json each event is an object on a line.

--follow goes on with new events until Ctrl-C. With --from or --since it shows the kept ones from there
first. It skips and repeats nothing, also when the node stops and another one is asked. If the cluster
is restored from a backup or founded anew, it ends with an error, because the new events are another
history.

Old events are deleted (see --history-events and --history-age of "rollcall serve"). Without --from,
the oldest kept event comes first. If --from names one that is not kept, the error names the oldest
that is.

Revisions have no gaps, except those that your filters make. --timeout is how long to wait for the
next page, not for all of them.`,
		Example: `  rollcall events
  rollcall events shop/ --since 10m
  rollcall events --service shop/cart --reverse --limit 1
  rollcall events --since "2026-11-22 03:00" --until "2026-11-22 03:30" --actor alice@laptop
  rollcall events --follow --from 42 -o json`,
		Args: func(cmd *cobra.Command, _ []string) error {
			// Checked before variables are read: ROLLCALL_TIMEOUT is meant for other commands.
			if f.follow && cmd.Flags().Changed("timeout") {
				return invalid("--follow goes on until it is interrupted, or has shown --limit events, and has no --timeout")
			}
			return nil
		},
		ValidArgsFunction: a.completeServices(100),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			if f.follow {
				c, err := a.dial()
				if err != nil {
					return err
				}
				defer c.Close()
				return a.followEvents(cmd.Context(), c, args, f)
			}
			options, err := f.read.options()
			if err != nil {
				return err
			}
			return a.callPaged(cmd, func(ctx context.Context, c *client.Client) error {
				return a.listEvents(reading(ctx, options), c, args, f)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what happens, until Ctrl-C")
	flags.Int64Var(&f.from, "from", 0, "first `revision` wanted")
	flags.Int64Var(&f.to, "to", 0, "last `revision` wanted")
	flags.Var(&f.since, "since", "not before this `time`: 10m, 03:12, \"2026-11-22 03:12\", 2026-11-22T03:12:00Z")
	flags.Var(&f.until, "until", "not after this `time`")
	flags.StringVar(&f.actor, "actor", "", "only what this `actor` did, or was done on its behalf; no environment variable stands for it, as that names who writes")
	flags.Var(&f.types, "type", "only events of this `type`, "+format.Alternatives(cliflag.EventTypeNames())+"; comma separated or repeated")
	flags.StringVar(&f.service, "service", "", "only events of exactly this `service`, and of overrides that cover it")
	flags.IntVar(&f.limit, "limit", 0, "at most so many events; 0: all")
	flags.BoolVar(&f.reverse, "reverse", false, "newest first")
	f.read = addReadFlags(cmd)
	cliflag.FlagOnly(flags, "actor", "follow", "service")
	cliflag.NotEmpty(flags, "actor")
	a.complete(cmd, "type", cliflag.EventTypeNames()...)
	a.completeFlag(cmd, "service", a.completeFlagService)
	return cmd
}

func (f *eventFlags) check(cmd *cobra.Command, prefixes []string) error {
	given := func(flag string) bool { return cliflag.Given(cmd.Flags(), flag) }
	for _, p := range prefixes {
		if err := checkLookup(p); err != nil {
			return err
		}
	}
	if given("service") {
		if err := checkName(f.service); err != nil {
			return err
		}
		if len(prefixes) > 0 {
			return invalid("--service is exactly one service and cannot be given with a PREFIX")
		}
	}
	if f.limit < 0 {
		return invalid("--limit is %d; it must be a number of events, or 0 for all", f.limit)
	}
	for _, r := range []struct {
		flag  string
		value int64
	}{{"from", f.from}, {"to", f.to}} {
		if cmd.Flags().Changed(r.flag) && r.value < 1 {
			return invalid("--%s is %d; revisions are 1, 2, 3 …", r.flag, r.value)
		}
	}
	switch {
	case f.to > 0 && f.to < f.from:
		return invalid("--to is %d, before --from, which is %d", f.to, f.from)
	case !f.until.IsZero() && f.until.Before(f.since.Time):
		return invalid("--until is before --since")
	case !f.follow:
		return nil
	}
	for _, flag := range []string{"to", "until", "reverse"} {
		if given(flag) {
			return invalid("--follow has no end and cannot be given with --%s", flag)
		}
	}
	if given("linearizable") || given("min-revision") || given("max-staleness") {
		return invalid("--follow shows every event sooner or later and cannot be given with --linearizable, --min-revision or --max-staleness; use --from")
	}
	return nil
}

// printedAtOnce is how many events of a list are printed together, in aligned columns.
const printedAtOnce = 1000

func (a *app) listEvents(ctx context.Context, c *client.Client, prefixes []string, f *eventFlags) error {
	o := client.ListEventsOptions{
		Prefixes: prefixes, Service: f.service, From: f.from, To: f.to, Since: f.since.Time, Until: f.until.Time,
		Actor: f.actor, Types: f.types, NewestFirst: f.reverse, PageSize: min(f.limit, printedAtOnce),
	}
	var (
		printer = a.eventPrinter()
		batch   []*rollcallv1.Event
		n       int
		failed  error
	)
	list := func(ctx context.Context) iter.Seq2[*rollcallv1.Event, error] { return c.ListEvents(ctx, o) }
	for e, err := range withPageTimeout(ctx, "list events", a.timeout, list) {
		if err != nil {
			failed = doing("list events", err)
			break
		}
		batch = append(batch, e)
		if n++; n == f.limit {
			break
		}
		if len(batch) == printedAtOnce {
			if err := printer.print(batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	if err := printer.print(batch); err != nil {
		return err
	}
	if failed == nil && n == 0 && a.forPeople() {
		fmt.Fprintln(a.stderr, f.nothing(prefixes))
	}
	return failed
}

// nothing says why no events were shown.
func (f *eventFlags) nothing(prefixes []string) string {
	if len(prefixes) == 0 && f.service == "" && f.actor == "" && len(f.types) == 0 && f.from == 0 && f.to == 0 && f.since.IsZero() && f.until.IsZero() {
		return "there are no events yet"
	}
	return "no event matches"
}

// followEvents prints events until ctx ends, which is no error, or --limit events were printed.
func (a *app) followEvents(ctx context.Context, c *client.Client, prefixes []string, f *eventFlags) error {
	silent := a.noteSilence(ctx, c)
	defer silent()
	o := client.WatchEventsOptions{Prefixes: prefixes, From: f.from, Cluster: f.read.cluster}
	if f.service != "" {
		o.Prefixes = []string{f.service}
	}
	if !f.since.IsZero() {
		first, err := a.firstSince(ctx, c, f)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return doing("find the first event", err)
		}
		o.From = max(o.From, first)
	}
	printer := a.eventPrinter()
	begun := false
	n := 0
	for batch, err := range c.WatchEvents(ctx, o) {
		silent()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return doing("follow events", err)
		}
		if !begun && a.forPeople() {
			fmt.Fprintf(a.stderr, "following events after revision %d; Ctrl-C ends it\n", batch.Revision)
		}
		begun = true
		events := slices.DeleteFunc(batch.Events, func(e *rollcallv1.Event) bool { return !f.wants(e) })
		if f.limit > 0 {
			events = events[:min(len(events), f.limit-n)]
		}
		n += len(events)
		if err := printer.print(events); err != nil {
			return err
		}
		if f.limit > 0 && n == f.limit {
			return nil
		}
	}
	return nil
}

// wants reports whether the flags choose e. A watch of events filters by prefix only; this is the rest.
func (f *eventFlags) wants(e *rollcallv1.Event) bool {
	return (f.service == "" || concerns(e, f.service)) &&
		(f.actor == "" || e.GetActor().GetName() == f.actor || e.GetActor().GetOnBehalfOf() == f.actor) &&
		(len(f.types) == 0 || slices.Contains(f.types, e.GetType())) &&
		!e.GetTime().AsTime().Before(f.since.Time)
}

// concerns reports whether an event is of a service, or of an override that covers it.
func concerns(e *rollcallv1.Event, service string) bool {
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET, rollcallv1.EventType_EVENT_TYPE_OVERRIDE_CLEARED, rollcallv1.EventType_EVENT_TYPE_OVERRIDE_EXPIRED:
		return pattern.Covers(e.GetPattern(), service)
	}
	return e.GetService() == service
}

// firstSince returns the revision of the first event at or after --since; without one, the next revision.
func (a *app) firstSince(ctx context.Context, c *client.Client, f *eventFlags) (int64, error) {
	ctx, cancel, err := a.withTimeout(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	info := new(client.ReadInfo)
	ctx = client.WithReadOptions(ctx, client.ReadOptions{Cluster: f.read.cluster, Info: info})
	for e, err := range c.ListEvents(ctx, client.ListEventsOptions{Since: f.since.Time, PageSize: 1}) {
		if err != nil {
			return 0, err
		}
		return e.GetRevision(), nil
	}
	return info.Revision + 1, nil
}

// eventPrinter writes events as they come, some at a time.
type eventPrinter struct {
	a    *app
	grid *grid[*rollcallv1.Event]
}

func (a *app) eventPrinter() *eventPrinter { return &eventPrinter{a, newGrid(a, eventColumns)} }

func (p *eventPrinter) print(events []*rollcallv1.Event) error {
	if !p.a.forPrograms() {
		return p.grid.write(events)
	}
	for _, e := range events {
		if err := p.a.printPart(apijson.Message{Message: e}, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

var eventColumns = []column[*rollcallv1.Event]{
	{header: "REVISION", cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(fmt.Sprint(e.GetRevision())) }},
	{header: "COMMIT", wide: true, cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(fmt.Sprint(e.GetCommitRevision())) }},
	{header: "TIME", cell: func(v view, e *rollcallv1.Event) format.Cell {
		return text(v.timeOrDash(e.GetTime()))
	}},
	{header: "TYPE", wide: true, cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(cliflag.EventTypeName(e.GetType())) }},
	{header: "SERVICE", cell: func(_ view, e *rollcallv1.Event) format.Cell {
		return text(format.OrDash(explain.Subject(e)))
	}},
	{header: "FROM→TO", cell: func(v view, e *rollcallv1.Event) format.Cell { return transition(v, e) }},
	{header: "LEASE", wide: true, cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(format.OrDash(e.GetLeaseId())) }},
	{header: "ACTOR", cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(explain.ActorOrDash(e.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(format.OrDash(e.GetActor().GetPeer())) }},
	{header: "REQUEST ID", wide: true, cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(format.OrDash(e.GetRequestId())) }},
	{header: "REASON", cell: func(_ view, e *rollcallv1.Event) format.Cell { return text(explain.EventReason(e)) }},
}

// transition returns what an event changed, in the tone of what it is now.
func transition(v view, e *rollcallv1.Event) format.Cell {
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_DELETED, rollcallv1.EventType_EVENT_TYPE_EXPIRED:
		from, to := e.GetPreviousStatus().String(), e.GetStatus().String()
		if e.GetPreviousStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			from = "-"
		}
		if e.GetStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			to = "deleted"
		}
		if e.GetEffectiveStatus() != e.GetStatus() {
			to += " (shown as " + e.GetEffectiveStatus().String() + ")"
		}
		return format.Cell{Text: from + "→" + to, Tone: format.StatusTone(e.GetStatus())}
	case rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET:
		return format.Cell{Text: explain.Change(v.now, e), Tone: format.StatusTone(e.GetStatus())}
	}
	// A type that explain does not know is of a newer node.
	return text(cmp.Or(explain.Change(v.now, e), cliflag.EventTypeName(e.GetType())))
}

func (a *app) localTime(t time.Time) string { return a.view().local(t) }
