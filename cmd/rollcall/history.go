package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
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
		Long: `Shows what was reported of a service, oldest first: from when until when, for how long, by whom and
why. A time in which it did not exist, because it was deleted, is shown as "deleted"; what holds now
lasts until "now". The first line can begin before --since: it is what held then. --until cuts the
last line.

Old events are compacted; the timeline then begins with what held at that time, and says so.
--timeout bounds the wait for what comes next, not the whole.

With -o json each line is an object: start_time, end_time (null: it holds now), duration_seconds, status
(SERVICE_UNKNOWN: deleted), actor, reason, revision; with earlier_compacted if what was before it is
not kept.`,
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

// period is a span of time in which one report held, or in which the service was deleted.
type period struct {
	start    time.Time
	end      time.Time // zero: it holds now
	status   client.Status
	actor    string
	reason   string
	revision int64 // of the event that began it
}

// history reads the timeline of one service.
type history struct {
	a            *app
	c            *client.Client
	service      string
	since, until time.Time // zero: no bound
	limit        int       // 0: none

	periods []period // newest first
	// compacted is the oldest revision that is kept, if the timeline reaches back to it; else 0.
	compacted int64
}

func (h *history) read(ctx context.Context) error {
	// Asked from revision 1 on, so that the answer is an error if older events are not kept.
	for from := int64(1); ; {
		first, cut, err := h.readEvents(ctx, from)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Reason == client.ReasonCompacted && e.OldestRevision > from {
			from, h.compacted = e.OldestRevision, e.OldestRevision // it may have moved again by the next try
			continue
		}
		if err == nil && !cut {
			cut, err = h.readBefore(ctx, first)
		}
		if cut {
			h.compacted = 0
		}
		return err
	}
}

// readEvents makes periods of the events from a revision on. It returns the oldest event, and whether the
// limit left out older ones.
func (h *history) readEvents(ctx context.Context, from int64) (first *rollcallv1.Event, cut bool, err error) {
	h.periods = nil
	o := client.ListEventsOptions{
		Service: h.service, From: from, Since: h.since, Until: h.until, NewestFirst: true,
		Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_DELETED},
	}
	if h.limit > 0 {
		o.PageSize = min(h.limit+1, printedAtOnce)
	}
	list := func(ctx context.Context) iter.Seq2[*rollcallv1.Event, error] { return h.c.ListEvents(ctx, o) }
	for e, err := range withPageTimeout(ctx, "show the history of "+h.service, h.a.timeout, list) {
		if err != nil {
			return nil, false, err
		}
		if h.full() {
			return first, true, nil
		}
		h.add(e.GetTime(), e.GetStatus(), e.GetActor(), e.GetReason(), e.GetRevision())
		first = e
	}
	return first, false, nil
}

// readBefore adds what held before the first event; without events, what held all the time.
func (h *history) readBefore(ctx context.Context, first *rollcallv1.Event) (cut bool, err error) {
	var at *rollcallv1.At
	switch {
	case first != nil && first.GetPreviousStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN:
		return false, nil
	case h.full():
		return true, nil
	case first != nil:
		at = client.AtRevision(first.GetRevision() - 1)
	case !h.until.IsZero():
		at = client.AtTime(h.until)
	}
	ctx, cancel, err := h.a.withTimeout(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	resp, err := h.c.GetAt(ctx, h.service, at)
	if e, ok := errors.AsType[*client.Error](err); ok && e.Reason == client.ReasonCompacted && first != nil {
		h.compacted = e.OldestRevision // compacted since the events were read
		return false, nil
	}
	if err != nil {
		return false, err
	}
	report := resp.GetService().GetReport()
	h.add(report.GetTime(), report.GetStatus(), report.GetActor(), report.GetReason(), report.GetRevision())
	return false, nil
}

func (h *history) full() bool { return h.limit > 0 && len(h.periods) >= h.limit }

// add adds a period that is earlier than all others.
func (h *history) add(start *timestamppb.Timestamp, s client.Status, actor *rollcallv1.Actor, reason string, revision int64) {
	end := h.until
	if n := len(h.periods); n > 0 {
		end = h.periods[n-1].start
	}
	h.periods = append(h.periods, period{start.AsTime(), end, s, actor.GetName(), reason, revision})
}

// periodJSON is the JSON form of a period.
type periodJSON struct {
	Service          string       `json:"service"`
	Start            format.Time  `json:"start_time"`
	End              *format.Time `json:"end_time"`
	DurationSeconds  float64      `json:"duration_seconds"`
	Status           string       `json:"status"`
	Actor            string       `json:"actor"`
	Reason           string       `json:"reason"`
	Revision         int64        `json:"revision"`
	EarlierCompacted bool         `json:"earlier_compacted,omitempty"`
}

func (a *app) printHistory(h *history, newestFirst bool) error {
	lines := slices.Clone(h.periods)
	if !newestFirst {
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

func (h *history) json(p period) periodJSON {
	out := periodJSON{
		Service: h.service, Start: format.Time{Time: p.start}, DurationSeconds: p.lasted(h.a.now()).Seconds(), Status: p.status.String(),
		Actor: p.actor, Reason: p.reason, Revision: p.revision,
		EarlierCompacted: h.compacted > 0 && p.revision == h.periods[len(h.periods)-1].revision,
	}
	if !p.end.IsZero() {
		out.End = &format.Time{Time: p.end}
	}
	return out
}

var periodColumns = []column[period]{
	{header: "FROM", cell: func(v view, p period) format.Cell { return text(v.local(p.start)) }},
	{header: "UNTIL", cell: func(v view, p period) format.Cell {
		if p.end.IsZero() {
			return text("now")
		}
		return text(v.local(p.end))
	}},
	{header: "FOR", cell: func(v view, p period) format.Cell { return text(format.TwoUnits(p.lasted(v.now))) }},
	{header: "STATUS", cell: func(_ view, p period) format.Cell {
		c := statusCell(p.status)
		if p.status == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			c.Text = "deleted"
		}
		return c
	}},
	{header: "REVISION", wide: true, cell: func(_ view, p period) format.Cell { return text(fmt.Sprint(p.revision)) }},
	{header: "WHO", cell: func(_ view, p period) format.Cell { return text(format.OrDash(p.actor)) }},
	{header: "WHY", cell: func(_ view, p period) format.Cell { return text(format.OrDash(p.reason)) }},
}

// lasted returns how long p has held so far; never less than 0, because the clocks of nodes and of this
// machine may differ.
func (p period) lasted(now time.Time) time.Duration {
	end := p.end
	if end.IsZero() {
		end = now
	}
	return max(end.Sub(p.start), 0)
}
