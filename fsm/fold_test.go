package fsm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestP12BadInputIsRefused: one clear refusal, the right field, nothing changed, nobody halted.
func TestP12BadInputIsRefused(t *testing.T) {
	ok := change("ok", serving)
	with := func(edit func(*logv1.Command)) *logv1.Command {
		c := write(ok)
		edit(c)
		return c
	}
	many := make([]*logv1.Change, limits.MaxChanges+1)
	for i := range many {
		many[i] = change(fmt.Sprint("s", i), serving)
	}
	for _, tc := range []struct {
		name string
		cmd  *logv1.Command
		want *logv1.Refusal // its reason is REASON_INVALID if it has none
	}{
		{"no changes", write(), &logv1.Refusal{Field: "changes", Problem: logv1.Refusal_PROBLEM_EMPTY}},
		{"too many changes", write(many...), &logv1.Refusal{Field: "changes", Problem: logv1.Refusal_PROBLEM_TOO_MANY, Value: 10001, Limit: 10000}},
		{"empty name", write(change("", serving)), &logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_EMPTY}},
		{"own name", write(change("rollcall.live", serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_RESERVED, Given: "rollcall.live"}},
		{"white space", write(change("a b", serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: ' ', Offset: 1, Given: "a b"}},
		{"control character", write(change("a\x07", serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 7, Offset: 1, Given: "a\x07"}},
		{"what does not show", write(change("a\u200bb", serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 0x200b, Offset: 1, Given: "a\u200bb"}},
		{"not normalized, in a batch", write(ok, change("cafe\u0301", serving)),
			&logv1.Refusal{Field: "service", Change: 2, Problem: logv1.Refusal_PROBLEM_NOT_NORMALIZED, Value: 0x301, Offset: 4, Given: "cafe\u0301"}},
		{"a mark with nothing before it", write(change("a/\u0301", serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_MISPLACED_MARK, Value: 0x301, Offset: 2, Given: "a/\u0301"}},
		{"an actor that does not show", with(func(c *logv1.Command) { c.Actor = &logv1.Actor{Name: "ann\u202e"} }),
			&logv1.Refusal{Field: "actor", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 0x202e, Offset: 3, Given: "ann\u202e"}},
		{"a request id of two lines", with(func(c *logv1.Command) { c.RequestId = "a\nb" }),
			&logv1.Refusal{Field: "request_id", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: '\n', Offset: 1, Given: "a\nb"}},
		{"a lease that does not show", write(&logv1.Change{Service: "a", LeaseId: "l\u2060"}),
			ofService("a", &logv1.Refusal{Field: "lease_id", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 0x2060, Offset: 1, Given: "l\u2060"})},
		{"a control character in a reason", with(func(c *logv1.Command) { c.Reason = "two\nlines\x1b[2J" }),
			&logv1.Refusal{Field: "reason", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 0x1b, Offset: 9}},
		{"a member that does not show", announce(&logv1.Member{Name: "n1\u200b"}),
			&logv1.Refusal{Field: "member.name", Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: 0x200b, Offset: 2, Given: "n1\u200b"}},
		{"long name", write(change(strings.Repeat("x", 257), serving)),
			&logv1.Refusal{Field: "service", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 257, Limit: 256}},
		{"bad name in a batch", write(ok, change("b", serving), change("*", serving)),
			&logv1.Refusal{Field: "service", Change: 3, Problem: logv1.Refusal_PROBLEM_FORBIDDEN_CHARACTER, Value: '*', Given: "*"}},
		{"bad status", write(change("a", 4)), ofService("a", &logv1.Refusal{Field: "status", Problem: logv1.Refusal_PROBLEM_UNKNOWN, Value: 4})},
		{"bad status in a batch", write(ok, change("a", -1)),
			ofService("a", &logv1.Refusal{Field: "status", Change: 2, Problem: logv1.Refusal_PROBLEM_UNKNOWN, Value: -1})},
		{"duplicate", write(ok, change("b", serving), change("ok", gone)),
			ofService("ok", &logv1.Refusal{Field: "service", Change: 3, Problem: logv1.Refusal_PROBLEM_REPEATED, Value: 1})},
		{"negative if_revision", write(changeIf("a", serving, -1)),
			ofService("a", &logv1.Refusal{Field: "if_revision", Problem: logv1.Refusal_PROBLEM_TOO_LOW, Value: -1})},
		{"long lease", write(&logv1.Change{Service: "a", LeaseId: strings.Repeat("x", 65)}),
			ofService("a", &logv1.Refusal{Field: "lease_id", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 65, Limit: 64})},
		{"long reason", with(func(c *logv1.Command) { c.Reason = strings.Repeat("x", 1025) }),
			&logv1.Refusal{Field: "reason", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 1025, Limit: 1024}},
		{"long actor", with(func(c *logv1.Command) { c.Actor = &logv1.Actor{Name: strings.Repeat("x", 257)} }),
			&logv1.Refusal{Field: "actor", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 257, Limit: 256}},
		{"long peer", with(func(c *logv1.Command) { c.Actor = &logv1.Actor{Peer: strings.Repeat("x", 257)} }),
			&logv1.Refusal{Field: "actor.peer", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 257, Limit: 256}},
		{"long request id", with(func(c *logv1.Command) { c.RequestId = strings.Repeat("x", 65) }),
			&logv1.Refusal{Field: "request_id", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 65, Limit: 64}},
		{"malformed beats mismatch", write(changeIf("there", serving, 9), change("a", 9)),
			ofService("a", &logv1.Refusal{Field: "status", Change: 2, Problem: logv1.Refusal_PROBLEM_UNKNOWN, Value: 9})},
		{"another revision", write(ok, changeIf("there", notServing, 9)), mismatch("there", 9, 1)},
		{"another revision, same status", write(changeIf("there", serving, 9)), mismatch("there", 9, 1)},
		{"must not exist", write(changeIf("there", serving, 0)), mismatch("there", 0, 1)},
		{"compared with nothing", write(changeIf("new", serving, 1)), mismatch("new", 1, 0)},
		{"compared deletion of nothing", write(changeIf("new", gone, 1)), mismatch("new", 1, 0)},
		{"must exist", write(ok, &logv1.Change{Service: "new", Status: gone, MustExist: true}),
			ofService("new", &logv1.Refusal{Reason: logv1.Refusal_REASON_NOT_FOUND})},
		{"no member", announce(nil), &logv1.Refusal{Field: "member.name", Problem: logv1.Refusal_PROBLEM_EMPTY}},
		{"member too long", announce(&logv1.Member{Name: "n1", ApiAddress: strings.Repeat("x", 263)}),
			&logv1.Refusal{Field: "member.api_address", Problem: logv1.Refusal_PROBLEM_TOO_LONG, Value: 263, Limit: 262}},
		{"member with another directory", announce(&logv1.Member{Name: "n9", DirectoryId: "other"}),
			&logv1.Refusal{Kind: logv1.Kind_KIND_MEMBER, Key: "n9", Field: "member.directory_id", Problem: logv1.Refusal_PROBLEM_CONFLICT,
				Given: "other", Held: "d9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			h.set(t, "there", serving)
			h.do(t, 0, announce(&logv1.Member{Name: "n9", DirectoryId: "d9"}))
			before, preview := h.dump(), h.Preview(tc.cmd, 0).Proto()
			got := h.do(t, 0, tc.cmd)[0]
			preview.Index = got.GetIndex() // it does not know which entry it would be in
			if !proto.Equal(got, preview) {
				t.Errorf("applied %v, previewed %v", got, preview)
			}
			if tc.want.Reason == 0 {
				tc.want.Reason = logv1.Refusal_REASON_INVALID
			}
			if !proto.Equal(got.GetRefusal(), tc.want) {
				t.Errorf("refusal is %v, want %v", got.GetRefusal(), tc.want)
			}
			if got.GetRevision() != 2 || len(got.GetServices()) != 0 {
				t.Errorf("result is %v, want revision 2 and no services", got)
			}
			after := h.dump()
			if strings.Replace(after, "index 3", "index 2", 1) != before {
				t.Errorf("a refused command changed the state:\n%s\n%s", before, after)
			}
			if h.Halted() != nil {
				t.Errorf("halted: %v", h.Halted())
			}
		})
	}
}

func ofService(name string, r *logv1.Refusal) *logv1.Refusal {
	r.Kind, r.Key = logv1.Kind_KIND_SERVICE, name
	return r
}

func mismatch(name string, asked, current int64) *logv1.Refusal {
	return ofService(name, &logv1.Refusal{Reason: logv1.Refusal_REASON_REVISION_MISMATCH, Value: asked, CurrentRevision: current})
}

// TestPreviewOfWhatCannotBeWritten: text that is no UTF-8 can only come to a preview.
func TestPreviewOfWhatCannotBeWritten(t *testing.T) {
	h := newHarness(t)
	bad := writeFor("\xff", change("a", serving))
	for name, cmd := range map[string]*logv1.Command{
		"reason": bad, "command": {}, "service": write(change("\xff", serving)),
	} {
		r := h.Preview(cmd, 1).Proto().GetRefusal()
		if r.GetField() != name || r.GetReason() != logv1.Refusal_REASON_INVALID {
			t.Errorf("%s: refusal is %v", name, r)
		}
		if _, err := proto.Marshal(r); err != nil {
			t.Errorf("%s: refusal cannot be sent: %v", name, err)
		}
	}
	if r := h.Preview(nil, 1).Proto(); r.GetRefusal() == nil {
		t.Errorf("nil command gives %v", r)
	}
}

// TestWriteEvents goes through the life of a service, looking at all that a write leaves behind.
func TestWriteEvents(t *testing.T) {
	h := newHarness(t)
	type step struct {
		name    string
		time    int64
		cmd     *logv1.Command
		changed bool
		event   *logv1.Event // but for its origin
		status  logv1.Status // of the record afterwards
		since   int64        // its status_time
		at      int64        // its report.time
		rev     int64        // its report.revision
	}
	reported := func(from, to logv1.Status) *logv1.Event {
		return &logv1.Event{
			Type: logv1.EventType_EVENT_TYPE_REPORTED, Kind: logv1.Kind_KIND_SERVICE, Key: "a",
			PreviousStatus: from, Status: to, EffectiveStatus: to,
		}
	}
	for i, s := range []step{
		{"create", 100, writeFor("up", change("a", serving)), true, reported(gone, serving), serving, 100, 100, 1},
		{"the same", 200, writeFor("up", change("a", serving)), false, nil, serving, 100, 100, 1},
		{"a new reason", 300, writeFor("still up", change("a", serving)), true, reported(serving, serving), serving, 100, 300, 2},
		{"a new status, clock behind", 250, writeFor("down", changeIf("a", notServing, 2)), true, reported(serving, notServing), notServing, 300, 300, 3},
		{"unknown", 400, writeFor("down", change("a", unknown)), true, reported(notServing, unknown), unknown, 400, 400, 4},
		{"delete", 500, writeFor("bye", change("a", gone)), true, &logv1.Event{
			Type: logv1.EventType_EVENT_TYPE_DELETED, Kind: logv1.Kind_KIND_SERVICE, Key: "a", Deletes: true,
			PreviousStatus: unknown, Status: gone, EffectiveStatus: gone,
		}, gone, 500, 0, 0},
		{"delete again", 600, writeFor("bye", change("a", gone)), false, nil, gone, 0, 0, 0},
		{"delete if absent", 600, writeFor("bye", changeIf("a", gone, 0)), false, nil, gone, 0, 0, 0},
		{"create if absent", 700, writeFor("up", changeIf("a", serving, 0)), true, reported(gone, serving), serving, 700, 700, 6},
	} {
		preview := h.Preview(s.cmd, s.time).Proto()
		eventsBefore := len(h.registryFile.events)
		got := h.do(t, s.time, s.cmd)[0]
		preview.Index = got.GetIndex() // it does not know which entry it would be in
		if !proto.Equal(got, preview) {
			t.Errorf("%s: applied %v, previewed %v", s.name, got, preview)
		}
		if len(h.registryFile.deltas) != i+1 {
			t.Fatalf("%s: registry file has %d deltas, want one each batch", s.name, len(h.registryFile.deltas))
		}
		r := got.GetServices()[0]
		if r.GetChanged() != s.changed {
			t.Errorf("%s: changed is %v", s.name, r.GetChanged())
		}
		want := &logv1.ServiceRecord{Service: "a", StatusTime: s.since}
		if s.status != gone {
			by := s.cmd
			if !s.changed {
				by = writeFor("up")
			}
			want.Report = &logv1.Report{
				Status: s.status, Reason: by.Reason, Actor: by.Actor, RequestId: by.RequestId,
				Time: s.at, Revision: s.rev,
			}
		}
		if !proto.Equal(r.GetRecord(), want) {
			t.Errorf("%s: record is\n%v, want\n%v", s.name, r.GetRecord(), want)
		}
		events := h.registryFile.events[eventsBefore:]
		if s.event == nil {
			if len(events) != 0 {
				t.Errorf("%s: events %v, want none", s.name, events)
			}
			continue
		}
		s.event.Revision, s.event.CommitRevision = got.GetRevision(), got.GetRevision()
		s.event.Time = h.view.Load().logTime
		s.event.StatusTime = s.since
		s.event.Actor, s.event.Reason, s.event.RequestId = s.cmd.Actor, s.cmd.Reason, s.cmd.RequestId
		if len(events) != 1 || !proto.Equal(events[0], s.event) {
			t.Errorf("%s: events are\n%v, want\n%v", s.name, events, s.event)
		}
	}
}

func TestLeaseIDIsPartOfTheReport(t *testing.T) {
	h := newHarness(t)
	with := func(lease string) *logv1.Command {
		return write(&logv1.Change{Service: "a", Status: serving, LeaseId: lease}, change("b", serving))
	}
	h.do(t, 0, grantOf(leaseA), grantOf(leaseB))
	for i, lease := range []string{leaseA, leaseA, leaseB} {
		got := h.do(t, int64(i), with(lease))[0]
		if changed := got.GetServices()[0].GetChanged(); changed != (i != 1) {
			t.Errorf("step %d: changed is %v", i, changed)
		}
		if id := got.GetServices()[0].GetRecord().GetReport().GetLeaseId(); id != lease {
			t.Errorf("step %d: lease is %q", i, id)
		}
		if id := got.GetServices()[1].GetRecord().GetReport().GetLeaseId(); id != "" {
			t.Errorf("step %d: lease of b is %q", i, id)
		}
	}
	if e := h.registryFile.events[4]; e.LeaseId != leaseB {
		t.Errorf("event is %v, want lease %s", e, leaseB)
	}
	if since := h.registryFile.service("a").StatusTime; since != 0 {
		t.Errorf("a new lease moved status_time to %d", since)
	}
}

func TestBatchSharesCommitRevision(t *testing.T) {
	h := newHarness(t)
	h.set(t, "b", serving)
	got := h.do(t, 5, write(change("c", serving), change("b", serving), change("a", notServing), change("x", gone)))[0]
	if got.GetRevision() != 3 {
		t.Fatalf("revision is %d, want 3", got.GetRevision())
	}
	var changed []bool
	for _, s := range got.GetServices() {
		changed = append(changed, s.GetChanged())
	}
	if fmt.Sprint(changed) != "[true false true false]" {
		t.Errorf("changed: %v", changed)
	}
	for i, want := range []struct {
		service string
		rev     int64
		commit  int64
	}{{"b", 1, 1}, {"c", 2, 3}, {"a", 3, 3}} {
		e := h.registryFile.events[i]
		if e.ServiceName() != want.service || e.Revision != want.rev || e.CommitRevision != want.commit {
			t.Errorf("event %d is %v, want %v", i, e, want)
		}
	}
	a, c := h.view.Load().get("a"), h.view.Load().get("c")
	if a.origin != c.origin {
		t.Error("records of one command do not share their origin")
	}
}

func TestAnnounceMember(t *testing.T) {
	h := newHarness(t)
	base := &logv1.Member{Name: "n1", ApiAddress: "a:1", PeerAddress: "a:2", DirectoryId: "d1", Version: "v1", Level: 1}
	edit := func(f func(*logv1.Member)) *logv1.Member {
		m := proto.CloneOf(base)
		f(m)
		return m
	}
	for _, s := range []struct {
		name     string
		member   *logv1.Member
		changed  bool
		revision int64
	}{
		{"new", base, true, 1},
		{"the same", base, false, 1},
		{"version", edit(func(m *logv1.Member) { m.Version = "v2" }), true, 2},
		{"level", edit(func(m *logv1.Member) { m.Level = 2 }), true, 3},
		{"api address", edit(func(m *logv1.Member) { m.ApiAddress = "b:1" }), true, 4},
		{"peer address", edit(func(m *logv1.Member) { m.PeerAddress = "b:2" }), true, 5},
	} {
		view, events := h.view.Load(), len(h.registryFile.events)
		got := h.do(t, 9, announce(s.member))[0]
		if got.GetRevision() != s.revision || got.GetRefusal() != nil {
			t.Errorf("%s: result is %v, want revision %d", s.name, got, s.revision)
		}
		d := h.registryFile.deltas[len(h.registryFile.deltas)-1]
		if (len(d.Records) == 1) != s.changed {
			t.Errorf("%s: delta has records %v", s.name, d.Records)
		}
		if !s.changed {
			continue
		}
		if !proto.Equal(h.Members()["n1"], s.member) {
			t.Errorf("%s: member is %v", s.name, h.Members()["n1"])
		}
		e := h.registryFile.events[events]
		if e.Type != logv1.EventType_EVENT_TYPE_MEMBER_CHANGED || e.Kind != logv1.Kind_KIND_MEMBER || e.Key != "n1" ||
			e.Deletes || !bytes.Equal(e.After, appendValue(nil, s.member)) || e.Revision != s.revision {
			t.Errorf("%s: event is %v", s.name, e)
		}
		if s.name != "new" && proto.Equal(view.member("n1"), s.member) {
			t.Errorf("%s: an earlier cut was changed", s.name)
		}
	}
}

func TestTermStart(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, termStart(""))
	if id := h.ClusterID(); id != "" {
		t.Errorf("cluster id is %q", id)
	}
	if got := h.do(t, 0, termStart("c1"), termStart("c1"))[1]; got.GetRevision() != 0 || got.GetRefusal() != nil {
		t.Errorf("result is %v", got)
	}
	h.do(t, 0, termStart(""))
	if id := h.ClusterID(); id != "c1" || h.registryFile.meta.ClusterId != "c1" {
		t.Errorf("cluster id is %q, in the registry file %q", id, h.registryFile.meta.ClusterId)
	}
	if len(h.registryFile.events) != 0 {
		t.Errorf("events are %v, want none", h.registryFile.events)
	}
	h.do(t, 0, termStart("c1"))
}

// TestOneEntryNamesOneCluster: an entry is looked at whole before any of it takes effect.
func TestOneEntryNamesOneCluster(t *testing.T) {
	entry := func(ids ...string) *logv1.Entry {
		e := &logv1.Entry{}
		for _, id := range ids {
			e.Commands = append(e.Commands, termStart(id))
		}
		return e
	}
	if err := newState(DefaultKinds()).admit(entry("", "c1", "", "c1"), logv1.Level); err != nil {
		t.Errorf("one cluster: %v", err)
	}
	if err := newState(DefaultKinds()).admit(entry("c1", "", "c2"), logv1.Level); err == nil {
		t.Error("two clusters in one entry: no error")
	}
}
