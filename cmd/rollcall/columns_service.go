package main

import (
	"fmt"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// serviceColumns are those of list, and of get -o wide.
var serviceColumns = []column[*rollcallv1.ServiceRecord]{
	{header: "SERVICE", cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell { return text(format.Service(r.GetService())) }},
	{header: "STATUS", cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		return format.Cell{Text: explain.Status(r), Tone: format.StatusTone(r.GetStatus())}
	}},
	{header: "SINCE", cell: func(v view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(format.Ago(v.now, r.GetStatusTime()))
	}},
	{header: "REVISION", cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		if r.GetReport() == nil {
			return text("-")
		}
		return text(fmt.Sprint(r.GetReport().GetRevision()))
	}},
	{header: "REPORTED", wide: true, cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		if r.GetReport() == nil {
			return text("-")
		}
		return statusCell(r.GetReport().GetStatus())
	}},
	{header: "TIME", wide: true, cell: func(v view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(v.timeOrDash(r.GetReport().GetTime()))
	}},
	{header: "ACTOR", cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell { return text(actorName(r.GetReport())) }},
	{header: "PEER", wide: true, cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(format.OrDash(r.GetReport().GetActor().GetPeer()))
	}},
	{header: "REASON", cell: func(v view, r *rollcallv1.ServiceRecord) format.Cell { return text(explain.Reason(v.now, r)) }},
}

// statusCell is a status in its tone.
func statusCell(s client.Status) format.Cell {
	return format.Cell{Text: s.String(), Tone: format.StatusTone(s)}
}
