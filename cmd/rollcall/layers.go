package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func (a *app) printOverrides(list *rollcallv1.ListOverridesResponse) error {
	names := make([]string, len(list.GetOverrides()))
	for i, o := range list.GetOverrides() {
		names[i] = o.GetPattern()
	}
	return a.printMessage(list, names, func() error {
		if len(list.GetOverrides()) == 0 {
			fmt.Fprintln(a.stderr, "no override is set")
			return nil
		}
		return newGrid(a, overrideColumns).write(list.GetOverrides())
	})
}

var overrideColumns = []column[*rollcallv1.Override]{
	{header: "PATTERN", cell: func(_ view, o *rollcallv1.Override) format.Cell { return text(o.GetPattern()) }},
	{header: "STATUS", cell: func(_ view, o *rollcallv1.Override) format.Cell { return statusCell(o.GetStatus()) }},
	{header: "SINCE", cell: func(v view, o *rollcallv1.Override) format.Cell { return text(format.Ago(v.now, o.GetStatusTime())) }},
	{header: "ENDS", cell: func(v view, o *rollcallv1.Override) format.Cell { return text(explain.Until(v.now, o)) }},
	{header: "REVISION", cell: func(_ view, o *rollcallv1.Override) format.Cell { return text(fmt.Sprint(o.GetRevision())) }},
	{header: "TIME", wide: true, cell: func(v view, o *rollcallv1.Override) format.Cell { return text(v.timeOrDash(o.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, o *rollcallv1.Override) format.Cell { return text(explain.ActorOrDash(o.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, o *rollcallv1.Override) format.Cell { return text(format.OrDash(o.GetActor().GetPeer())) }},
	{header: "REASON", cell: func(_ view, o *rollcallv1.Override) format.Cell { return text(format.OrDash(o.GetReason())) }},
}

func (a *app) printRules(list *rollcallv1.ListRulesResponse) error {
	names := make([]string, len(list.GetRules()))
	for i, r := range list.GetRules() {
		names[i] = r.GetName()
	}
	return a.printMessage(list, names, func() error {
		if len(list.GetRules()) == 0 {
			fmt.Fprintln(a.stderr, `no rule is set; "rollcall rule add" sets one`)
			return nil
		}
		return newGrid(a, ruleColumns).write(list.GetRules())
	})
}

var ruleColumns = []column[*rollcallv1.Rule]{
	{header: "RULE", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(r.GetName()) }},
	{header: "PATTERN", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(r.GetPattern()) }},
	{header: "ASKS FOR", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(explain.Bound(r)) }},
	{header: "NEEDED", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return counted(r, r.GetNeeded()) }},
	{header: "SERVING", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return counted(r, r.GetServing()) }},
	{header: "OF", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return counted(r, r.GetTotal()) }},
	{header: "MAY STOP", cell: func(_ view, r *rollcallv1.Rule) format.Cell {
		switch n := explain.Spare(r); {
		case !explain.Counted(r):
			return text("-")
		case n >= 0:
			return format.Cell{Text: fmt.Sprint(n), Tone: toneIf(n == 0, format.Doubtful)}
		}
		return format.Cell{Text: "BROKEN", Tone: format.Bad}
	}},
	{header: "REVISION", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(fmt.Sprint(r.GetRevision())) }},
	{header: "TIME", wide: true, cell: func(v view, r *rollcallv1.Rule) format.Cell { return text(v.timeOrDash(r.GetTime())) }},
	{header: "ACTOR", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(explain.ActorOrDash(r.GetActor())) }},
	{header: "PEER", wide: true, cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(format.OrDash(r.GetActor().GetPeer())) }},
	{header: "REASON", cell: func(_ view, r *rollcallv1.Rule) format.Cell { return text(format.OrDash(r.GetReason())) }},
}

// counted is a number that a rule counts.
func counted(r *rollcallv1.Rule, n int64) format.Cell {
	if !explain.Counted(r) {
		return text("-")
	}
	return text(fmt.Sprint(n))
}

// ruleMissing is the failure of a command that names a rule which does not exist.
func ruleMissing(name string) *failure {
	return &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonNotFound, err: fmt.Errorf("rule %s does not exist", format.Printable(name)), next: ruleAdvice}
}

const (
	overrideAdvice = `"rollcall override list" shows the overrides`
	ruleAdvice     = `"rollcall rule list" shows the rules`
)

// explainBroken is the failure of a change that was refused because it would break rules.
func explainBroken(f *failure, e *client.Error) {
	f.broken = client.BrokenRules(e)
	if len(f.broken) == 0 {
		return // of a newer node
	}
	f.err = errors.New("not written: breaks " + explain.Broken(f.broken, "would serve"))
	f.next = "to do it all the same: --break-glass " + explain.Names(f.broken) + " and a --reason"
}
