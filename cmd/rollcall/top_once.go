package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/top"
)

// topJSON is one picture for programs. It has all groups and all services that do not serve.
type topJSON struct {
	Status   *apijson.Message  `json:"status"` // null: it may not be read
	Services topCounts         `json:"services"`
	Groups   []topGroup        `json:"groups"` // worst first
	Down     []apijson.Message `json:"not_serving"`
	Events   []apijson.Message `json:"events"` // newest first
	Revision int64             `json:"revision"`
	Cluster  string            `json:"cluster_id"`
}

type topCounts struct {
	Total      int `json:"total"`
	Serving    int `json:"serving"`
	NotServing int `json:"not_serving"`
	Unknown    int `json:"unknown"`
}

type topGroup struct {
	Group string `json:"group"`
	topCounts
}

func topCountsOf(c top.Counts) topCounts {
	return topCounts{c.Total, c.Serving(), c.NotServing, c.Unknown}
}

// topOnce prints one picture.
func (a *app) topOnce(cmd *cobra.Command, flags *topFlags) error {
	return a.call(cmd, func(ctx context.Context, c *client.Client) error {
		p := top.NewPicture(flags.prefix, flags.depth)
		p.Paint = a.colors()
		page := client.ListPage{}
		records := map[string]*rollcallv1.ServiceRecord{}
		for r, err := range c.List(ctx, client.ListOptions{Prefix: flags.prefix, PageSize: 10_000, Page: &page}) {
			if err != nil {
				return doing("list services", err)
			}
			s := topService(a.now(), r)
			p.Services.Put(s)
			if s.Status != client.Serving {
				records[s.Name] = r
			}
		}
		events, err := lastEvents(ctx, c, flags)
		if err != nil {
			return doing("list events", err)
		}
		for _, e := range events {
			p.Events = append(p.Events, a.topEvent(e))
		}
		if p.Status, err = a.clusterStatus(ctx, c); err != nil && !client.IsDenied(err) {
			return doing("get the status of the cluster", err)
		}
		out := topJSON{
			Services: topCountsOf(p.Services.Shown()), Groups: []topGroup{}, Down: []apijson.Message{}, Events: apijson.Messages(events),
			Revision: page.First, Cluster: page.Cluster,
		}
		if p.Status != nil {
			out.Status = &apijson.Message{Message: p.Status}
		}
		for g := range p.Services.Groups() {
			out.Groups = append(out.Groups, topGroup{g.Name, topCountsOf(g.Counts)})
		}
		for s := range p.Services.Down() {
			out.Down = append(out.Down, apijson.Message{Message: records[s.Name]})
		}
		return a.printObject(out, func() error { return a.writePicture(p) })
	})
}

// writePicture writes a picture as text, with the first rows of each list.
func (a *app) writePicture(p *top.Picture) error {
	const most, usual = 20, 120 // rows; columns where there is no terminal
	columns := usual
	if f, ok := terminalOf(a.stdout).(*os.File); ok && format.IsTerminal(f) {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			columns = n
		}
	}
	for _, l := range p.Lines(columns, 0, most, a.now()) {
		if _, err := fmt.Fprintln(a.stdout, l); err != nil {
			return err
		}
	}
	return nil
}
