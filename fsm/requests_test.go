package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// withIDs is a harness that remembers.
func withIDs(t testing.TB, ids uint32, window int64) *harness {
	h := newHarness(t)
	h.do(t, 0, termStartWith(ids, window))
	return h
}

// again is cmd as another try sends it.
func again(cmd *logv1.Command) *logv1.Command {
	c := proto.CloneOf(cmd)
	c.Actor.Peer = "10.0.0.2:7"
	return c
}

func sameAnswer(t *testing.T, got, first *logv1.Result) {
	t.Helper()
	want := proto.CloneOf(first)
	want.Replayed, want.Index = true, got.GetIndex()
	if !proto.Equal(got, want) {
		t.Errorf("answered\n%v, the first time\n%v", got, first)
	}
}

// TestP3EveryTryGetsTheFirstAnswer whatever happened in between: the registry went on, the node was
// restarted, or restored from a snapshot. Nothing changes.
func TestP3EveryTryGetsTheFirstAnswer(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cmd     *logv1.Command
		refused logv1.Refusal_Reason
	}{
		{"create", withID("1", change("new", serving)), 0},
		{"change", withID("1", change("a", notServing)), 0},
		{"compare and set", withID("1", changeIf("a", notServing, 1)), 0},
		{"nothing changes", withID("1", change("b", serving)), 0},
		{"delete", withID("1", change("a", gone)), 0},
		{"delete of nothing", withID("1", change("nothing", gone)), 0},
		{"batch", withID("1", change("b", serving), change("a", gone), change("new", unknown), change("nothing", gone), change("c", serving)), 0},
		{"leased", withID("1", &logv1.Change{Service: "a", Status: serving, LeaseId: leaseA}, change("c", unknown)), 0},
		{"another revision", withID("1", changeIf("a", notServing, 9)), logv1.Refusal_REASON_REVISION_MISMATCH},
		{"does not exist", withID("1", change("c", serving), &logv1.Change{Service: "nothing", Status: gone, MustExist: true}), logv1.Refusal_REASON_NOT_FOUND},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := withIDs(t, 100, 1000)
			h.do(t, 5, write(change("a", serving)), grantOf(leaseA))
			h.do(t, 6, write(change("b", serving)), writeFor("c", change("c", serving)))
			first := h.do(t, 7, tc.cmd)[0]
			if first.GetRefusal().GetReason() != tc.refused || first.GetReplayed() {
				t.Fatalf("the first answer is %v", first)
			}
			check := func(h *harness) {
				t.Helper()
				before, events := h.dump(), len(h.registryFile.events)
				h.index++
				got := results(t, h.Apply(logOf(t, h.index, 1, &logv1.Entry{Time: 9, Commands: []*logv1.Command{again(tc.cmd), again(tc.cmd)}})))
				sameAnswer(t, got[0], first)
				sameAnswer(t, got[1], first)
				if after := h.dump(); tail(after) != tail(before) || len(h.registryFile.events) != events {
					t.Errorf("another try changed\n%sto\n%s", before, after)
				}
			}
			check(h)
			// Another deletes, makes, changes what it was about.
			h.do(t, 8, write(change("a", unknown), change("b", gone), change("new", gone), change("nothing", serving)))
			check(h)
			restarted := harnessOn(t, h.registryFile)
			if restarted.dump() != h.dump() {
				t.Errorf("restarted\n%swas\n%s", restarted.dump(), h.dump())
			}
			restored := newHarness(t)
			if err := restored.Restore(h.snapshot(t)); err != nil {
				t.Fatal(err)
			}
			restored.index = h.index
			check(restarted)
			check(restored)
		})
	}
}

// tail leaves out the index.
func tail(dump string) string {
	_, rest, _ := strings.Cut(dump, "revision")
	before, ids, _ := strings.Cut(rest, "time ")
	_, ids, _ = strings.Cut(ids, " ")
	return before + ids
}

// TestP3OneOfMany: which of two tries comes into the log first does not matter, also
// within one entry.
func TestP3OneOfMany(t *testing.T) {
	h := withIDs(t, 100, 1000)
	cmd := withID("x", changeIf("a", serving, 0))
	got := h.do(t, 1, cmd, write(change("a", notServing)), again(cmd), cmd)
	sameAnswer(t, got[2], got[0])
	sameAnswer(t, got[3], got[0])
	if h.Revision() != 2 || len(h.registryFile.events) != 2 {
		t.Errorf("revision %d, %d events", h.Revision(), len(h.registryFile.events))
	}
}

func TestP3IDOfAnotherRequest(t *testing.T) {
	h := withIDs(t, 100, 1000)
	h.do(t, 1, withID("x", change("a", serving)))
	before := h.dump()
	for name, cmd := range map[string]*logv1.Command{
		"another request": withID("x", change("a", notServing)),
		"malformed":       withID("x", change("", serving)),
		"empty":           withID("x"),
	} {
		r := h.do(t, 1, cmd)[0]
		if f := r.GetRefusal(); f.GetReason() != logv1.Refusal_REASON_INVALID || f.GetField() != "request_id" ||
			f.GetProblem() != logv1.Refusal_PROBLEM_REUSED || f.GetGiven() != "x" || f.GetValue() != 2 || r.GetReplayed() || r.GetRevision() != 1 {
			t.Errorf("%s: %v", name, r)
		}
	}
	if tail(h.dump()) != tail(before) {
		t.Errorf("refused, but changed to\n%s", h.dump())
	}
	if r := h.do(t, 1, withID("x", change("a", serving)))[0]; !r.GetReplayed() {
		t.Errorf("the first request is forgotten: %v", r)
	}
	// Of an id whose first request was malformed nothing is known.
	h.do(t, 1, withID("y", change("", serving)))
	if r := h.do(t, 1, withID("y", change("b", serving)))[0]; r.GetRefusal() != nil || r.GetReplayed() {
		t.Errorf("after a malformed request: %v", r)
	}
}

// TestP3IDsBelongToCallers: those who proved who they are cannot be disturbed by others.
func TestP3IDsBelongToCallers(t *testing.T) {
	h := withIDs(t, 100, 1000)
	by := func(name string, verified bool, st logv1.Status) *logv1.Command {
		c := withID("x", change("a", st))
		c.Actor = &logv1.Actor{Name: name, Verified: verified}
		return c
	}
	for i, step := range []struct {
		cmd             *logv1.Command
		replayed, other bool
	}{
		{by("ann", true, serving), false, false},
		{by("bob", true, notServing), false, false},
		{by("ann", false, unknown), false, false},
		{by("bob", false, unknown), false, true}, // a name that is only claimed is no identity
		{by("", true, unknown), false, true},     // nor is an empty one
		{by("ann", true, serving), true, false},
		{by("bob", true, notServing), true, false},
		{by("bob", true, serving), false, true},
	} {
		r := h.do(t, 1, step.cmd)[0]
		if r.GetReplayed() != step.replayed || (r.GetRefusal() != nil) != step.other {
			t.Errorf("step %d: %v", i, r)
		}
	}
}

func TestP3PreviewLooksAtNoID(t *testing.T) {
	h := withIDs(t, 100, 1000)
	cmd := withID("x", change("a", serving))
	if r := h.Preview(cmd, 5).Proto(); !r.GetServices()[0].GetChanged() || h.RequestIDs() != 0 {
		t.Errorf("preview is %v; %d ids", r, h.RequestIDs())
	}
	h.do(t, 1, cmd)
	for _, c := range []*logv1.Command{cmd, withID("x", change("b", serving)), termStartWith(7, 7)} {
		if r := h.Preview(c, 5).Proto(); r.GetReplayed() || r.GetRefusal() != nil {
			t.Errorf("preview of %v is %v", c, r)
		}
	}
}

// TestRequestIDsLeave, by their number and by time, with a registry file that always holds just those that
// are left.
func TestRequestIDsLeave(t *testing.T) {
	h := withIDs(t, 5, 100)
	kept := func(want ...string) {
		t.Helper()
		var got []string
		for _, r := range h.state.requests.order {
			got = append(got, r.key().id)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || h.RequestIDs() != len(want) || len(h.registryFile.records[logv1.Kind_KIND_REQUEST]) != len(want) {
			t.Errorf("kept %v and %d in the registry file, want %v", got, len(h.registryFile.records[logv1.Kind_KIND_REQUEST]), want)
		}
		if re := harnessOn(t, h.registryFile); re.dump() != h.dump() {
			t.Errorf("restarted\n%swas\n%s", re.dump(), h.dump())
		}
	}
	for i := range 7 {
		h.do(t, int64(10*i), withID(fmt.Sprint(i), change("a", serving)))
	}
	kept("2", "3", "4", "5", "6")
	h.do(t, 60, withID("three", change("b", serving), change("c", serving), change("d", serving)))
	kept("5", "6", "three")
	h.do(t, 60, withID("refused", change("b", serving), changeIf("c", serving, 99), change("d", serving)))
	kept("6", "three", "refused")
	h.do(t, 150, termStart("c1")) // "6" and its like are a hundred old, no more
	h.do(t, 160, termStart("c1"))
	kept("6", "three", "refused")
	h.do(t, 161, termStart("c1"))
	kept()
	if r := h.do(t, 161, withID("6", change("a", notServing)))[0]; r.GetRefusal() != nil || r.GetReplayed() {
		t.Errorf("a forgotten id: %v", r)
	}
	many := make([]*logv1.Change, 9)
	for i := range many {
		many[i] = change(fmt.Sprint("s", i), serving)
	}
	h.do(t, 161, withID("nine", many...)) // more than the limit: kept while it is the newest
	kept("nine")
	h.do(t, 161, withID("a", change("a", serving)), withID("b", change("a", serving)), withID("c", change("a", serving)))
	kept("a", "b", "c")
	h.do(t, 162, termStartWith(2, 100))
	kept("b", "c")
	h.do(t, 163, termStart("c1")) // of a binary that says nothing of them
	kept("b", "c")
	h.do(t, 164, termStartWith(9, -1))
	kept("b", "c")
	h.do(t, 170, termStartWith(9, 5))
	kept()
}

// TestP3IsOffUntilALeaderSaysSo: a log of before is folded as it was.
func TestP3IsOffUntilALeaderSaysSo(t *testing.T) {
	h := newHarness(t)
	h.do(t, 0, termStart("c1"), withID("x", change("a", serving)))
	if r := h.do(t, 0, withID("x", change("a", notServing)))[0]; r.GetRefusal() != nil || h.RequestIDs() != 0 || len(h.registryFile.records[logv1.Kind_KIND_REQUEST]) != 0 {
		t.Errorf("answered %v; %d ids", r, h.RequestIDs())
	}
}

// TestHashCoversARequest: whatever a caller asks makes another hash, also fields that come to these
// messages one day; what differs from try to try does not.
func TestHashCoversARequest(t *testing.T) {
	full := func() *logv1.Command {
		c := write(&logv1.Change{Service: "a", Status: serving, IfRevision: proto.Int64(1), LeaseId: "l", MustExist: true}, change("b", gone))
		c.Actor = &logv1.Actor{Name: "token:ci", Verified: true, Peer: "p", OnBehalfOf: "ann", Credential: "0123456789abcdef"}
		c.Reason, c.RequestId, c.BreakGlass = "r", "id", []string{"rule"}
		return c
	}
	hash := func(c *logv1.Command) requestHash { h, _ := hashRequest(c, nil); return h }
	want := hash(full())
	if hash(full()) != want {
		t.Fatal("the same request has two hashes")
	}
	ignored := map[protoreflect.FullName]bool{
		"rollcall.log.v1.Command.request_id": true, // is the key
		"rollcall.log.v1.Actor.peer":         true,
		// How the caller proved its identity may change between tries: a token may be renewed. The identity is hashed.
		"rollcall.log.v1.Actor.credential":   true,
		"rollcall.log.v1.Actor.static_admin": true,
	}
	seen := 0
	var each func(find func(*logv1.Command) protoreflect.Message)
	each = func(find func(*logv1.Command) protoreflect.Message) {
		fields := find(full()).Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() && f.Name() != "write" {
				continue // kinds that have no request id
			}
			if f.Kind() == protoreflect.MessageKind {
				each(func(c *logv1.Command) protoreflect.Message {
					m := find(c)
					if f.IsList() {
						return m.Mutable(f).List().Get(0).Message()
					}
					return m.Mutable(f).Message()
				})
				continue
			}
			seen++
			for name, edit := range map[string]func(protoreflect.Message){
				"cleared": func(m protoreflect.Message) { m.Clear(f) },
				"changed": func(m protoreflect.Message) { m.Set(f, other(t, m, f)) },
			} {
				c := full()
				edit(find(c))
				if (hash(c) == want) != ignored[f.FullName()] {
					t.Errorf("%s %s: same hash: %v", f.FullName(), name, hash(c) == want)
				}
			}
		}
	}
	each(func(c *logv1.Command) protoreflect.Message { return c.ProtoReflect() })
	if seen < 10 {
		t.Errorf("only %d fields were tried", seen)
	}
	// Neighbours do not run into each other.
	for _, c := range []*logv1.Command{
		withID("", change("ab", serving), change("c", serving)), withID("", change("a", serving), change("bc", serving)),
		withID("", change("c", serving), change("ab", serving)), withID("", change("ab", serving)), withID("", changeIf("ab", serving, 0)),
	} {
		h := hash(c)
		for _, other := range []*logv1.Command{full(), withID(""), withID("", change("abc", serving))} {
			if h == hash(other) {
				t.Errorf("%v and %v have one hash", c, other)
			}
		}
	}
}

// other is a value that the field does not have.
func other(t *testing.T, m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Value {
	if f.IsList() {
		more := m.NewField(f).List()
		more.Append(protoreflect.ValueOfString("other"))
		return protoreflect.ValueOfList(more)
	}
	switch now := m.Get(f); f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(now.String() + "x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!now.Bool())
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(now.Enum() + 1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(now.Int() + 1)
	}
	t.Fatalf("field %s has a kind this test does not know", f.FullName())
	return protoreflect.Value{}
}

// TestDamagedRequestsAreRefused: a table that the fold could not have written is not loaded.
func TestDamagedRequestsAreRefused(t *testing.T) {
	key := logv1.RequestKey(3, 0)
	edit := func(f func(*logv1.RequestRecord)) func(*memRegistryFile) {
		return func(j *memRegistryFile) { j.editRequest(key, f) }
	}
	editResult := func(f func(*logv1.StoredResult)) func(*memRegistryFile) {
		return edit(func(r *logv1.RequestRecord) {
			p := &logv1.StoredResult{}
			unmarshal(r.Result, p)
			f(p)
			r.Result = appendValue(nil, p)
		})
	}
	for name, damage := range map[string]func(*memRegistryFile){
		"hash":   edit(func(r *logv1.RequestRecord) { r.Hash = r.Hash[1:] }),
		"long":   edit(func(r *logv1.RequestRecord) { r.Hash = append(r.Hash, 0) }),
		"id":     edit(func(r *logv1.RequestRecord) { r.RequestId = "" }),
		"cost":   edit(func(r *logv1.RequestRecord) { r.Cost = 0 }),
		"result": edit(func(r *logv1.RequestRecord) { r.Result = []byte("x") }),
		"origin": editResult(func(p *logv1.StoredResult) { p.Origins[0] = 1 }),
		"status": editResult(func(p *logv1.StoredResult) { p.Statuses[0] = 7 }),
		"column": editResult(func(p *logv1.StoredResult) { p.Exists = nil }),
		"time":   edit(func(r *logv1.RequestRecord) { r.Time = 99 }),
		"order":  edit(func(r *logv1.RequestRecord) { r.Time = 0 }),
		"limits": func(j *memRegistryFile) {
			j.put(logv1.Kind_KIND_SETTING, settingRequestLimits, appendValue(nil, &logv1.Setting{}))
		},
		"off": func(j *memRegistryFile) { delete(j.records[logv1.Kind_KIND_SETTING], settingRequestLimits) },
		"twice": func(j *memRegistryFile) {
			j.put(logv1.Kind_KIND_REQUEST, logv1.RequestKey(3, 1), j.records[logv1.Kind_KIND_REQUEST][key])
		},
		"index": func(j *memRegistryFile) {
			j.put(logv1.Kind_KIND_REQUEST, logv1.RequestKey(99, 0), j.records[logv1.Kind_KIND_REQUEST][key])
			delete(j.records[logv1.Kind_KIND_REQUEST], key)
		},
		"key": func(j *memRegistryFile) {
			j.put(logv1.Kind_KIND_REQUEST, "x", j.records[logv1.Kind_KIND_REQUEST][key])
		},
	} {
		h := withIDs(t, 9, 100)
		h.do(t, 1, withID("x", change("a", serving)))
		h.do(t, 2, withID("y", change("a", notServing)))
		damage(h.registryFile)
		if _, err := New(Config{RegistryFile: h.registryFile}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkApplyRequestIDs: what an id costs a write, with a full table, so that each drives one out.
func BenchmarkApplyRequestIDs(b *testing.B) {
	const services, ids = 100_000, 250_000
	for _, mode := range []string{"none", "fresh"} {
		b.Run("id="+mode, func(b *testing.B) {
			f, index := benchFSM(b, services)
			start := termStartWith(ids, 1<<40)
			start.GetTermStart().ClusterId = ""
			index++
			f.Apply(logOf(b, index, 1, &logv1.Entry{Commands: []*logv1.Command{start}}))
			entry := func(i, commands int) *logv1.Entry {
				e := &logv1.Entry{}
				for k := range commands {
					c := withID("", change(serviceName((i+k)%services), []logv1.Status{serving, notServing}[i/services%2]))
					if mode == "fresh" {
						c.RequestId = fmt.Sprintf("7f3a1d52-93c1-4d5e-8f00-%012d", i+k)
					}
					e.Commands = append(e.Commands, c)
				}
				return e
			}
			n := 0
			for ; n < ids; n += 1000 {
				index++
				f.Apply(logOf(b, index, 1, entry(n, 1000)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				index++
				l := logOf(b, index, 1, entry(n, 1000))
				n += 1000
				b.StartTimer()
				f.Apply(l)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/write")
		})
	}
}
