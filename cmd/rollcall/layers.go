package main

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// printWrite writes the answer to a change of an override or a rule, for programs, or what write does. Errors
// of printing are ignored: the change is made, and an exit status of 1 would say that it is not.
func (a *app) printWrite(resp proto.Message, dryRun bool, write func(w io.Writer)) error {
	if a.json() {
		a.printMessage(resp)
		return nil
	}
	write(a.stdout)
	return nil
}

func (a *app) printOverrides(list *rollcallv1.ListOverridesResponse) error {
	if a.json() {
		return a.printMessage(list)
	}
	if len(list.GetOverrides()) == 0 {
		fmt.Fprintln(a.stderr, "no override is set")
		return nil
	}
	now := a.now()
	return format.Table(a.stdout, func(row func(...string)) {
		row("PATTERN", "STATUS", "SINCE", "ENDS", "REVISION", "ACTOR", "REASON")
		for _, o := range list.GetOverrides() {
			row(o.GetPattern(), o.GetStatus().String(), format.Ago(now, o.GetStatusTime()), explain.Until(now, o),
				fmt.Sprint(o.GetRevision()), format.OrDash(o.GetActor().GetName()), format.OrDash(o.GetReason()))
		}
	})
}

func (a *app) printRules(list *rollcallv1.ListRulesResponse) error {
	if a.json() {
		return a.printMessage(list)
	}
	if len(list.GetRules()) == 0 {
		fmt.Fprintln(a.stderr, `no rule is set; "rollcall rule add" sets one`)
		return nil
	}
	return format.Table(a.stdout, func(row func(...string)) {
		row("RULE", "PATTERN", "ASKS FOR", "NEEDED", "SERVING", "OF", "MAY STOP", "REVISION", "ACTOR", "REASON")
		for _, r := range list.GetRules() {
			spare := "BROKEN"
			if n := explain.Spare(r); n >= 0 {
				spare = fmt.Sprint(n)
			}
			row(r.GetName(), r.GetPattern(), explain.Bound(r), fmt.Sprint(r.GetNeeded()), fmt.Sprint(r.GetServing()), fmt.Sprint(r.GetTotal()), spare,
				fmt.Sprint(r.GetRevision()), format.OrDash(r.GetActor().GetName()), format.OrDash(r.GetReason()))
		}
	})
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
	f.next = "to do it all the same: --break-glass " + explain.Names(f.broken)
}
