package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// memberChange is one change of a member, as a command makes it.
type memberChange struct {
	name     string
	what     string // "add n4"
	gone     bool   // its end is that the cluster does without the member
	call     func(context.Context, *client.Client, client.WriteOptions) (memberAnswer, error)
	describe func(memberAnswer) string
}

// changeMember makes a change and, unless it is told not to, waits until the cluster has carried it out.
func (a *app) changeMember(cmd *cobra.Command, m *memberFlags, change memberChange) error {
	if m.timeout <= 0 {
		return invalid("--timeout is %s; it must be more than 0", m.timeout)
	}
	o, err := m.options(cmd)
	if err != nil {
		return err
	}
	o.DryRun = m.dryRun
	deadline, cancel := context.WithTimeout(cmd.Context(), m.timeout)
	defer cancel()
	a.timeout = m.timeout
	if !cliflag.Given(cmd.Flags(), "timeout") {
		a.timeout = memberChangeTime
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	making, made := context.WithTimeout(deadline, a.timeout)
	defer made()
	others := a.othersThan(making, c, change, m)
	resp, err := change.call(making, c, o)
	if err != nil {
		return &attempt{what: change.what, err: err, next: memberAdvice}
	}
	told := change.describe(resp)
	if m.dryRun || m.noWait {
		return a.printWrite(resp, m.dryRun, func(w io.Writer) { fmt.Fprintln(w, format.Printable(told)) }, change.name)
	}
	a.did = format.Printable(told)
	var unprinted error
	if a.forPeople() {
		_, unprinted = fmt.Fprintln(a.stdout, a.did) // before the wait, which may be long
	}
	waiting, err := a.dialTo(slices.Concat(a.endpoints, others))
	if err != nil {
		return err
	}
	defer waiting.Close()
	w := &memberWait{a: a, goal: goalOf(change, resp), timeout: m.timeout, told: told}
	end, err := w.wait(deadline, cmd.Context(), waiting.ClusterStatus)
	return errors.Join(unprinted, a.printMemberEnd(resp, w, end), err)
}

// othersThan returns where the other members answer, if the one that a command removes is asked itself: it ends, and could
// not say what comes of that.
func (a *app) othersThan(ctx context.Context, c *client.Client, change memberChange, m *memberFlags) (endpoints []string) {
	if !change.gone || m.noWait || m.dryRun {
		return nil
	}
	s, err := c.ClusterStatus(ctx)
	if err != nil {
		return nil // the change says why, or the wait does
	}
	for _, ms := range s.GetMembers() {
		if api := ms.GetMember().GetApiAddress(); api != "" && ms.GetMember().GetName() != change.name && !slices.Contains(a.endpoints, api) {
			endpoints = append(endpoints, api)
		}
	}
	return endpoints
}

// printMemberEnd writes what a wait ended with: for programs the answer with the member as it is now.
func (a *app) printMemberEnd(resp memberAnswer, w *memberWait, end string) error {
	if a.forPeople() {
		if end == "" {
			return nil
		}
		_, err := fmt.Fprintln(a.stdout, format.Printable(end))
		return err
	}
	if w.newest != nil && !w.goal.gone {
		resp = proto.Clone(resp).(memberAnswer)
		setMember(resp, w.newest)
	}
	return a.printMessage(resp, []string{w.goal.name}, nil)
}

func setMember(resp proto.Message, m *rollcallv1.Member) {
	r := resp.ProtoReflect()
	r.Set(r.Descriptor().Fields().ByName("member"), protoreflect.ValueOfMessage(m.ProtoReflect()))
}

// memberGoal is how a change of a member ends.
type memberGoal struct {
	name      string
	directory string // of the member that is meant, as answers show it; "": not known
	revision  int64  // of the change: a node that has not folded it yet knows nothing of it
	gone      bool
	replica   bool
}

func goalOf(change memberChange, resp memberAnswer) memberGoal {
	return memberGoal{
		name: change.name, directory: resp.GetMember().GetDirectoryId(), revision: resp.GetRevision(),
		gone: change.gone, replica: resp.GetMember().GetReplica(),
	}
}

// member returns the member that is meant; nil: the cluster does without it.
func (g memberGoal) member(s *rollcallv1.GetStatusResponse) *rollcallv1.MemberStatus {
	for _, ms := range s.GetMembers() {
		m := ms.GetMember()
		if m.GetName() == g.name && (g.directory == "" || m.GetDirectoryId() == "" || m.GetDirectoryId() == g.directory) {
			return ms
		}
	}
	return nil
}

// reached reports whether a member, or none, is what the change was to make of it. A voter has caught up. A replica is
// one at once, and answers reads once it is ready.
func (g memberGoal) reached(ms *rollcallv1.MemberStatus) bool {
	m := ms.GetMember()
	switch {
	case g.gone:
		return ms == nil
	case g.replica && m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA:
		return ms.GetReady() && ms.GetRevision() >= g.revision
	}
	return m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_VOTER
}

// memberWait waits for the end of a change that is made.
type memberWait struct {
	a       *app
	goal    memberGoal
	timeout time.Duration
	told    string // what the change is, as it was printed

	newest *rollcallv1.Member // as the newest answer has it
	why    string             // how far it is, or why that is not known; "": there was no answer
	shown  string             // the newest line of progress
	phase  rollcallv1.MemberPhase
	at     time.Time // of that line
}

// wait asks until the goal is reached, and returns what to say then. ctx ends the wait; interrupted ends when somebody
// interrupts the command.
func (w *memberWait) wait(ctx, interrupted context.Context, ask func(context.Context) (*rollcallv1.GetStatusResponse, error)) (string, error) {
	const (
		between = 250 * time.Millisecond
		attempt = 3 * time.Second // as long as awaitCluster gives one answer
	)
	for {
		try, done := context.WithTimeout(ctx, attempt)
		s, err := ask(try)
		done()
		switch {
		case err == nil && s.GetRevision() >= w.goal.revision:
			ms := w.goal.member(s)
			w.newest = ms.GetMember()
			if w.goal.reached(ms) {
				return w.end(s), nil
			}
			if ms == nil {
				return "", w.unfinished(interrupted, "it is no member any more: somebody else removed or replaced it", `"rollcall events --type member-removed" shows who`)
			}
			w.progress(ms)
		case err == nil:
			w.why = fmt.Sprintf("%s has not received the change yet", s.GetNode())
		case client.IsDenied(err) || client.IsUnauthenticated(err):
			return "", w.unfinished(interrupted, "how far it is cannot be seen: it needs the verb status", `"rollcall whoami" shows what you may do`)
		case ctx.Err() == nil || w.why == "":
			w.silence(err)
		}
		pause(ctx, between)
		if ctx.Err() != nil {
			return "", w.unfinished(interrupted, "", "")
		}
	}
}

// end says what was reached.
func (w *memberWait) end(s *rollcallv1.GetStatusResponse) string {
	switch {
	case w.goal.gone:
		return fmt.Sprintf("the cluster does without %s; %s", w.goal.name, explain.Voters(s))
	case w.newest.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_VOTER:
		return fmt.Sprintf("%s; %s", explain.Member(w.newest), explain.Voters(s))
	}
	return explain.Member(w.newest) + ", and ready"
}

// progress says how far a member is, for people, when that changes: a new phase at once, numbers every two seconds.
func (w *memberWait) progress(ms *rollcallv1.MemberStatus) {
	const every = 2 * time.Second
	m := ms.GetMember()
	w.why = explain.Member(m)
	if m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA && !ms.GetReady() {
		w.why += ", and not ready yet"
	}
	now := w.a.now()
	if w.why == w.shown || m.GetPhase() == w.phase && now.Sub(w.at) < every {
		return
	}
	w.phase = m.GetPhase()
	w.show(w.why, now)
}

// silence says once that no node answers.
func (w *memberWait) silence(err error) {
	why := err.Error()
	if e, ok := errors.AsType[*client.Error](err); ok {
		why = e.Message
	}
	w.why = "no node says how far it is"
	if w.shown != w.why {
		w.show(w.why, w.a.now())
		w.why += ": " + why
	}
}

func (w *memberWait) show(line string, now time.Time) {
	w.shown, w.at = line, now
	if w.a.forPeople() {
		fmt.Fprintln(w.a.stderr, format.Printable(line))
	}
}

// unfinished is the failure of a wait: the change is made, and its end is not there yet.
func (w *memberWait) unfinished(interrupted context.Context, why, next string) *failure {
	f := &failure{
		exit: exitNotAsAsked, code: codes.DeadlineExceeded, reason: reasonNotAsAsked, made: true,
		next: cmp.Or(next, `the cluster goes on by itself; "rollcall member list" shows how far it is`),
	}
	switch {
	case interrupted.Err() != nil:
		f.code, f.reason = codes.Canceled, reasonInterrupted
		f.err = fmt.Errorf("interrupted: %s, and that is not carried out yet", w.told)
	case why != "":
		f.code = codes.FailedPrecondition
		f.err = fmt.Errorf("%s, but %s", w.told, why)
	default:
		f.err = fmt.Errorf("%s, but that is not carried out after %s: %s", w.told, w.timeout, cmp.Or(w.why, "no node answered"))
	}
	return f
}
