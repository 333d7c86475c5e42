package main

import (
	"fmt"
	"slices"

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
	leaseColumn(true),
	{header: "LEASE ID", wide: true, cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(format.OrDash(r.GetReport().GetLeaseId()))
	}},
	{header: "ACTOR", cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell { return text(actorName(r.GetReport())) }},
	{header: "PEER", wide: true, cell: func(_ view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(format.OrDash(r.GetReport().GetActor().GetPeer()))
	}},
	{header: "REASON", cell: func(v view, r *rollcallv1.ServiceRecord) format.Cell { return text(explain.Reason(v.now, r)) }},
}

// leaseColumn marks the services whose report is attached to a lease.
func leaseColumn(wide bool) column[*rollcallv1.ServiceRecord] {
	return column[*rollcallv1.ServiceRecord]{header: "LEASE", wide: wide, cell: func(v view, r *rollcallv1.ServiceRecord) format.Cell {
		return text(explain.LeaseMark(v.now, r))
	}}
}

// columnsOf are the columns of a list of services: with leases, if there are any.
func columnsOf(records []*rollcallv1.ServiceRecord) []column[*rollcallv1.ServiceRecord] {
	if !slices.ContainsFunc(records, func(r *rollcallv1.ServiceRecord) bool { return r.GetReport().GetLeaseId() != "" }) {
		return serviceColumns
	}
	columns := slices.Clone(serviceColumns)
	columns[slices.IndexFunc(columns, func(c column[*rollcallv1.ServiceRecord]) bool { return c.header == "LEASE" })] = leaseColumn(false)
	return columns
}

// statusCell is a status in its tone.
func statusCell(s client.Status) format.Cell {
	return format.Cell{Text: s.String(), Tone: format.StatusTone(s)}
}
