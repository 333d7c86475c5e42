package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// eventPrinter writes events as they come, some at a time.
type eventPrinter struct {
	a       *app
	columns columns
}

func (a *app) eventPrinter() *eventPrinter {
	return &eventPrinter{a: a, columns: columns{w: a.stdout, header: []string{"REVISION", "TIME", "SERVICE", "FROM→TO", "ACTOR", "REASON"}}}
}

func (p *eventPrinter) print(events []*rollcallv1.Event) error {
	if p.a.json() {
		return p.a.printLines(events)
	}
	rows := make([][]string, 0, len(events))
	for _, e := range events {
		service := "-"
		if e.GetService() != "" {
			service = shown(e.GetService())
		}
		rows = append(rows, []string{
			fmt.Sprint(e.GetRevision()), p.a.local(e.GetTime()), service, transition(e),
			dash(e.GetActor().GetName()), dash(e.GetReason()),
		})
	}
	return p.columns.write(rows)
}

// printLines writes each event as a JSON object on a line.
func (a *app) printLines(events []*rollcallv1.Event) error {
	var out bytes.Buffer
	for _, e := range events {
		b, err := encodeJSON(e)
		if err != nil {
			return err
		}
		out.Write(b)
		out.WriteByte('\n')
	}
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// transition says what an event changed, in one cell.
func transition(e *rollcallv1.Event) string {
	switch e.GetType() {
	case rollcallv1.EventType_EVENT_TYPE_REPORTED, rollcallv1.EventType_EVENT_TYPE_DELETED:
		from, to := e.GetPreviousStatus().String(), e.GetStatus().String()
		if e.GetPreviousStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			from = "-"
		}
		if e.GetStatus() == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
			to = "deleted"
		}
		return from + "→" + to
	case rollcallv1.EventType_EVENT_TYPE_MEMBER_CHANGED:
		return fmt.Sprintf("member %s at %s", dash(e.GetMember().GetName()), dash(e.GetMember().GetApiAddress()))
	}
	return eventTypeName(e.GetType()) // of a newer node
}

// local is a time as the flags take it back, in the zone of the reader.
func (a *app) local(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return a.localTime(t.AsTime())
}

func (a *app) localTime(t time.Time) string {
	return t.In(a.now().Location()).Format("2006-01-02 15:04:05.000")
}

// columns aligns rows that come some at a time: a column is as wide as its widest cell so far.
type columns struct {
	w      io.Writer
	header []string
	widths []int // nil: nothing is written yet
}

func (c *columns) write(rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if c.widths == nil {
		c.widths = make([]int, len(c.header))
		rows = append([][]string{c.header}, rows...)
	}
	for _, row := range rows {
		for i, cell := range row {
			c.widths[i] = max(c.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				const between = 2
				b.WriteString(strings.Repeat(" ", c.widths[i]-utf8.RuneCountInString(cell)+between))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(c.w, b.String())
	return err
}
