package main

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// column is a column of a table of T.
type column[T any] struct {
	header string
	wide   bool // shown with -o wide only
	cell   func(v view, row T) format.Cell
}

// view is what cells depend on besides their row.
type view struct {
	now  time.Time
	zone *time.Location // of the reader
	wide bool
}

// local returns a time in the zone of the reader, in a form that time flags read.
func (v view) local(t time.Time) string { return format.Local(t, v.zone) }

func (v view) timeOrDash(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return v.local(t.AsTime())
}

func (a *app) view() view {
	now := a.now()
	return view{now, now.Location(), a.output == formatWide}
}

// text is a cell without a tone.
func text(s string) format.Cell { return format.Cell{Text: s} }

// toneIf is a tone that a cell has only under a condition.
func toneIf(condition bool, t format.Tone) format.Tone {
	if condition {
		return t
	}
	return format.Plain
}

// grid writes rows of a table as they come, some at a time.
type grid[T any] struct {
	a       *app
	columns []column[T]
	out     format.Columns
}

func newGrid[T any](a *app, columns []column[T]) *grid[T] {
	g := &grid[T]{a: a, out: format.Columns{W: a.stdout, Color: a.colors()}}
	for _, c := range columns {
		if c.wide && a.output != formatWide {
			continue
		}
		g.columns = append(g.columns, c)
		if !a.noHeaders {
			g.out.Header = append(g.out.Header, c.header)
		}
	}
	return g
}

func (g *grid[T]) write(rows []T) error {
	v := g.a.view()
	cells := make([][]format.Cell, len(rows))
	for i, row := range rows {
		for _, c := range g.columns {
			cells[i] = append(cells[i], c.cell(v, row))
		}
	}
	return g.out.Write(cells)
}
