package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/timeline"
)

func newHistoryCommand(a *app) *cobra.Command {
	var (
		since, until = a.time(), a.time()
		limit        int
		reverse      bool
		read         *readFlags
	)
	cmd := &cobra.Command{
		Use:   "history SERVICE",
		Short: "Show a service's timeline: from, until, for how long, who and why",
		Long: `Shows which status a service had, oldest first: from when until when, for how long, by whom and why.
"deleted" is a time in which the service did not exist. "now" ends what holds now. The first line shows
what held at --since, and may begin before it. --until cuts the last line.

A status with a star, NOT_SERVING*, is that of an override. The last column names the override, its
reason, and what was reported beneath it.

Old events are deleted after a while. The timeline then begins later, and says so. --timeout is how
long to wait for the next page, not for all of them.

With -o json each line is an object: start_time, end_time (null: it holds now), duration_seconds, status
(SERVICE_UNKNOWN: deleted), actor, reason, revision; under an override also override and report. With
earlier_compacted, what was before is not kept.`,
		Example: `  rollcall history shop/cart
  rollcall history shop/cart --since 7d
  rollcall history shop/cart --limit 10 --reverse`,
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			if err := checkLookup(service); err != nil {
				return err
			}
			if rollcallv1.IsOwn(service) {
				return invalid("%s is a name that nodes answer for themselves, and has no history", format.Service(service))
			}
			if limit < 0 {
				return invalid("--limit is %d; it must be a number of lines, or 0 for all", limit)
			}
			if !until.IsZero() && until.Before(since.Time) {
				return invalid("--until is before --since")
			}
			options, err := read.options()
			if err != nil {
				return err
			}
			return a.callPaged(cmd, func(ctx context.Context, c *client.Client) error {
				h := &history{a: a, c: c, service: service, since: since.Time, until: until.Time, limit: limit}
				if h.until.After(a.now()) {
					h.until = time.Time{}
				}
				if err := h.read(reading(ctx, options)); err != nil {
					return doing("show the history of "+service, err)
				}
				return a.printHistory(h, reverse)
			})
		},
	}
	f := cmd.Flags()
	f.Var(&since, "since", "what held at this `time` and after: 10m, 03:12, \"2026-11-22 03:12\", 2026-11-22T03:12:00Z")
	f.Var(&until, "until", "what held until this `time`")
	f.IntVar(&limit, "limit", 0, "at most so many lines, the newest; 0: all")
	f.BoolVar(&reverse, "reverse", false, "newest first")
	read = addReadFlags(cmd)
	return cmd
}

// history reads the timeline of one service.
type history struct {
	a            *app
	c            *client.Client
	service      string
	since, until time.Time // zero: no bound
	limit        int       // 0: none

	periods []timeline.Period // oldest first
	// compacted is the oldest revision that is kept, if the timeline reaches back to it; else 0.
	compacted int64
}

func (h *history) read(ctx context.Context) error {
	// Asked from revision 1 on, so that the answer is an error if older events are not kept.
	for from := int64(1); ; {
		cut, err := h.readEvents(ctx, from)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Reason == client.ReasonCompacted && e.OldestRevision > from {
			from, h.compacted = e.OldestRevision, e.OldestRevision // it may have moved again by the next try
			continue
		}
		if cut {
			h.compacted = 0
		}
		return err
	}
}

// readEvents makes periods of the events from a revision on, newest first. It reports whether the limit left out
// older ones. Not every event makes a period of its own: an override may begin or end beneath another. So it
// reads until there are enough.
func (h *history) readEvents(ctx context.Context, from int64) (cut bool, err error) {
	h.periods = nil
	o := client.ListEventsOptions{Service: h.service, From: from, Since: h.since, Until: h.until, NewestFirst: true, Types: timeline.Types}
	enough := 0 // events; 0: all
	if h.limit > 0 {
		enough = h.limit + 1
		o.PageSize = min(enough, printedAtOnce)
	}
	var events []*rollcallv1.Event
	list := func(ctx context.Context) iter.Seq2[*rollcallv1.Event, error] { return h.c.ListEvents(ctx, o) }
	for e, err := range withPageTimeout(ctx, "show the history of "+h.service, h.a.timeout, list) {
		if err != nil {
			return false, err
		}
		if events = append(events, e); len(events) != enough {
			continue
		}
		if err := h.build(ctx, events); err != nil {
			return false, err
		}
		if len(h.periods) > h.limit {
			h.periods = h.periods[len(h.periods)-h.limit:]
			return true, nil
		}
		enough *= 2
	}
	if err := h.build(ctx, events); err != nil {
		return false, err
	}
	switch {
	case len(h.periods) == 0: // only overrides of what does not exist
		_, err := h.recordAt(ctx, h.end())
		return false, err
	case h.limit > 0 && len(h.periods) > h.limit:
		h.periods = h.periods[len(h.periods)-h.limit:]
		return true, nil
	}
	return false, nil
}

// build makes periods of events, newest first, and of what held before them.
func (h *history) build(ctx context.Context, newestFirst []*rollcallv1.Event) error {
	events := slices.Clone(newestFirst)
	slices.Reverse(events)
	before, absent, err := h.before(ctx, events)
	if err != nil {
		return err
	}
	h.periods, err = timeline.Build(h.service, before, absent, events, func(revision int64) (*rollcallv1.ServiceRecord, error) {
		rec, err := h.recordAt(ctx, client.AtRevision(revision))
		if e, ok := errors.AsType[*client.Error](err); ok && (e.Code == codes.NotFound || e.Reason == client.ReasonCompacted) {
			return nil, nil
		}
		return rec, err
	})
	if n := len(h.periods); err == nil && n > 0 {
		h.periods[n-1].End = h.until
	}
	return err
}

// before returns the record before the first event; without events, the one that held all the time. absent says
// that there was none. If it is not kept any more, there is none either, and h.compacted is set.
func (h *history) before(ctx context.Context, events []*rollcallv1.Event) (rec *rollcallv1.ServiceRecord, absent bool, err error) {
	if len(events) == 0 {
		rec, err = h.recordAt(ctx, h.end())
		return rec, false, err
	}
	if e := events[0]; e.GetService() != "" && e.GetPreviousStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, true, nil
	}
	rec, err = h.recordAt(ctx, client.AtRevision(events[0].GetRevision()-1))
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case ok && e.Reason == client.ReasonCompacted:
		h.compacted = e.OldestRevision // since the events were read
		return nil, false, nil
	case ok && e.Code == codes.NotFound:
		return nil, true, nil
	}
	return rec, false, err
}

// end is the point in time at which the timeline ends.
func (h *history) end() *rollcallv1.At {
	if h.until.IsZero() {
		return nil
	}
	return client.AtTime(h.until)
}

func (h *history) recordAt(ctx context.Context, at *rollcallv1.At) (*rollcallv1.ServiceRecord, error) {
	ctx, cancel, err := h.a.withTimeout(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	resp, err := h.c.GetAt(ctx, h.service, at)
	return resp.GetService(), err
}

// periodJSON is the JSON form of a period.
type periodJSON struct {
	Service          string           `json:"service"`
	Start            apijson.Time     `json:"start_time"`
	End              *apijson.Time    `json:"end_time"`
	DurationSeconds  apijson.Seconds  `json:"duration_seconds"`
	Status           string           `json:"status"`
	Actor            *apijson.Message `json:"actor,omitempty"`
	Reason           string           `json:"reason"`
	Revision         int64            `json:"revision"`
	Override         *apijson.Message `json:"override,omitempty"` // that decides
	Report           *apijson.Message `json:"report,omitempty"`   // beneath it
	EarlierCompacted bool             `json:"earlier_compacted,omitempty"`
}

func (a *app) printHistory(h *history, newestFirst bool) error {
	lines := slices.Clone(h.periods)
	if newestFirst {
		slices.Reverse(lines)
	}
	if a.forPrograms() {
		for _, p := range lines {
			if err := a.printPart(h.json(p), nil, nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := newGrid(a, periodColumns).write(lines); err != nil {
		return err
	}
	if h.compacted > 0 {
		fmt.Fprintf(a.stderr, "earlier history is not kept: events are kept from revision %d on\n", h.compacted)
	}
	return nil
}

func (h *history) json(p timeline.Period) periodJSON {
	out := periodJSON{
		Service: h.service, Start: apijson.Time{Time: p.Start}, DurationSeconds: apijson.Seconds(lasted(p, h.a.now())), Status: p.Status.String(),
		Reason: p.Reason, Revision: p.Revision,
		EarlierCompacted: h.compacted > 0 && p.Revision == h.periods[0].Revision,
	}
	if p.Actor != nil {
		out.Actor = &apijson.Message{Message: p.Actor}
	}
	if !p.End.IsZero() {
		out.End = &apijson.Time{Time: p.End}
	}
	if p.Override != nil {
		out.Override, out.Report = &apijson.Message{Message: p.Override}, &apijson.Message{Message: p.Report}
	}
	return out
}

var periodColumns = []column[timeline.Period]{
	{header: "FROM", cell: func(v view, p timeline.Period) format.Cell { return text(v.local(p.Start)) }},
	{header: "UNTIL", cell: func(v view, p timeline.Period) format.Cell {
		if p.End.IsZero() {
			return text("now")
		}
		return text(v.local(p.End))
	}},
	{header: "FOR", cell: func(v view, p timeline.Period) format.Cell { return text(format.TwoUnits(lasted(p, v.now))) }},
	{header: "STATUS", cell: func(_ view, p timeline.Period) format.Cell {
		c := statusCell(p.Status)
		switch {
		case p.Status == healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
			c.Text = "deleted"
		case p.Override != nil:
			c.Text += "*"
		}
		return c
	}},
	{header: "REVISION", wide: true, cell: func(_ view, p timeline.Period) format.Cell { return text(fmt.Sprint(p.Revision)) }},
	{header: "WHO", cell: func(_ view, p timeline.Period) format.Cell { return text(explain.ActorOrDash(p.Actor)) }},
	{header: "WHY", cell: func(_ view, p timeline.Period) format.Cell {
		if p.Override == nil {
			return text(format.OrDash(p.Reason))
		}
		return text(explain.Beneath(p.Override, p.Report))
	}},
}

// lasted returns how long p has held so far; never less than 0, because the clocks of nodes and of this
// machine may differ.
func lasted(p timeline.Period, now time.Time) time.Duration {
	end := p.End
	if end.IsZero() {
		end = now
	}
	return max(end.Sub(p.Start), 0)
}
