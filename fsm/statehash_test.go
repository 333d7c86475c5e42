package fsm

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// fromScratch is the state hash by the records alone.
func (s *state) fromScratch() Digest {
	var m multiset
	s.services.Scan(func(r *record) bool {
		m.service(nil, r)
		return true
	})
	for _, mb := range s.members {
		m.member(nil, mb)
	}
	m.horizon(firstHorizon, s.horizon)
	bare := *s
	bare.remembered = multiset{}
	for _, r := range s.requests.order {
		bare.remembered.remember(r)
	}
	bare.remembered.limits(requestLimits{}, s.requests.limits)
	return bare.digestOf(m)
}

// TestP9StateHashOfAnyLog: after any log, cut into batches in any way, the hash that was kept entry by
// entry is the one that the records have; so it is after a restart and in a snapshot; and two nodes
// agree after every entry.
func TestP9StateHashOfAnyLog(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logs := raftLogs(t, rt, genLog.Draw(rt, "log"))
		a, b := rapidHarness(t, rt, newMemRegistryFile()), rapidHarness(t, rt, newMemRegistryFile())
		a.feed(rt, logs)
		for _, l := range logs {
			b.Apply(l)
			v := b.view.Load()
			if have := b.state.fromScratch(); have != v.hashed {
				rt.Fatalf("entry %d: kept %x, the records have %x", l.Index, v.hashed, have)
			}
			if !bytes.Equal(a.HashAt(l.Index).GetHash(), b.HashAt(l.Index).GetHash()) {
				rt.Fatalf("two nodes differ at entry %d", l.Index)
			}
		}
		want := b.StateHash()
		if got := a.StateHash(); !bytes.Equal(got.Hash, want.Hash) {
			rt.Fatalf("two nodes end at %x and %x", got.Hash, want.Hash)
		}
		restarted := rapidHarness(t, rt, b.registryFile)
		if got := restarted.StateHash(); !bytes.Equal(got.Hash, want.Hash) || got.Index != want.Index {
			rt.Fatalf("restarted: %v, want %v", got, want)
		}
		for _, scrub := range []func() (Scrub, error){
			func() (Scrub, error) { return b.ScrubMemory(context.Background(), 1) },
			func() (Scrub, error) {
				s, compared, err := b.ScrubRegistryFile(context.Background(), 1)
				if !compared {
					rt.Fatal("the registry file holds no hash")
				}
				return s, err
			},
		} {
			if s, err := scrub(); err != nil || !s.Agrees() || s.Index != want.Index {
				rt.Fatalf("a scrub of what is well: %+v, %v", s, err)
			}
		}
	})
}

// TestP9RequestsAreVerified: a table of request ids that is not what the fold wrote is found by a look
// at the registry file, and not loaded.
func TestP9RequestsAreVerified(t *testing.T) {
	for name, alter := range map[string]func(*memRegistryFile, *logv1.RequestRecord){
		"revision": func(_ *memRegistryFile, r *logv1.RequestRecord) { r.Revision++ },
		"outcome":  func(_ *memRegistryFile, r *logv1.RequestRecord) { r.Outcomes[0].Changed = false },
		"cause":    func(_ *memRegistryFile, r *logv1.RequestRecord) { r.Causes[0].Reason = "x" },
		"lost":     func(j *memRegistryFile, r *logv1.RequestRecord) { delete(j.requests, r.Key()) },
		"limits": func(j *memRegistryFile, _ *logv1.RequestRecord) {
			j.requests[logv1.RequestKey(0, 0)].Limits.RequestIds++
		},
	} {
		h := withIDs(t, 9, 100)
		h.do(t, 1, withID("x", change("a", serving)))
		h.do(t, 2, withID("y", change("a", notServing)))
		if s, _, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || !s.Agrees() || s.Records != 4 {
			t.Fatalf("a scrub of what is well: %+v, %v", s, err)
		}
		alter(h.registryFile, h.registryFile.requests[logv1.RequestKey(2, 0)])
		if s, _, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || s.Agrees() {
			t.Errorf("%s: a scrub finds %+v, %v", name, s, err)
		}
		if _, err := New(Config{RegistryFile: h.registryFile}); !errors.Is(err, ErrStateHash) {
			t.Errorf("%s: New: %v", name, err)
		}
	}
}

// TestP9HashTellsStatesApart: every field counts, and no two records read alike.
func TestP9HashTellsStatesApart(t *testing.T) {
	seen := map[string]string{}
	note := func(what string, d Digest) {
		t.Helper()
		if other, ok := seen[string(d[:])]; ok {
			t.Errorf("%s and %s have the same hash", what, other)
		}
		seen[string(d[:])] = what
	}
	service := func(what string, change func(*record, *cause, *actor)) {
		r := record{name: "ab", revision: 3, statusTime: 4, status: isServing}
		c := cause{reason: "cd", requestID: "ef", leaseID: "gh", time: 5}
		by := actor{name: "ij", peer: "kl"}
		change(&r, &c, &by)
		c.actor = internActor(&logv1.Actor{Name: by.name, Peer: by.peer, Verified: by.verified})
		r.cause = &c
		s := newState()
		s.hash.service(nil, &r)
		note(what, s.digest())
	}
	service("a record", func(*record, *cause, *actor) {})
	service("another name", func(r *record, _ *cause, _ *actor) { r.name = "abc" })
	service("another status", func(r *record, _ *cause, _ *actor) { r.status = isNotServing })
	service("another revision", func(r *record, _ *cause, _ *actor) { r.revision++ })
	service("another status time", func(r *record, _ *cause, _ *actor) { r.statusTime++ })
	service("another time", func(_ *record, c *cause, _ *actor) { c.time++ })
	service("another reason", func(_ *record, c *cause, _ *actor) { c.reason = "c" })
	service("a boundary moved", func(_ *record, c *cause, _ *actor) { c.reason, c.requestID = "cde", "f" })
	service("another lease", func(_ *record, c *cause, _ *actor) { c.leaseID = "" })
	service("another actor", func(_ *record, _ *cause, a *actor) { a.name = "x" })
	service("another peer", func(_ *record, _ *cause, a *actor) { a.peer = "x" })
	service("verified", func(_ *record, _ *cause, a *actor) { a.verified = true })
	for i, m := range []*logv1.Member{
		{Name: "ab"}, {ApiAddress: "ab"}, {PeerAddress: "ab"}, {DirectoryId: "ab"}, {Version: "ab"}, {Level: 1}, {HoldLevel: 1},
	} {
		s := newState()
		s.hash.member(nil, m)
		note(fmt.Sprint("member ", i), s.digest())
	}
	asked := func(what string, change func(*request)) {
		r := &request{
			key: requestKey{"ab", "cd"}, hash: requestHash{1}, place: place{2, 3}, time: 4, revision: 5,
			outcomes: []outcome{{name: "ef", before: replaced, after: &record{
				name: "ef", revision: 6, statusTime: 7, status: isServing, cause: &cause{reason: "gh", time: 8, actor: internActor(nil)},
			}}},
		}
		change(r)
		s := newState()
		s.remembered.remember(r)
		note(what, s.digest())
	}
	asked("a request", func(*request) {})
	asked("of another caller", func(r *request) { r.key.caller = "a" })
	asked("with its boundary moved", func(r *request) { r.key = requestKey{"abc", "d"} })
	asked("with another content", func(r *request) { r.hash[15]++ })
	asked("of another entry", func(r *request) { r.place.index++ })
	asked("of another position", func(r *request) { r.place.position++ })
	asked("of another time", func(r *request) { r.time++ })
	asked("of another revision", func(r *request) { r.revision++ })
	asked("that did nothing", func(r *request) { r.outcomes[0].before = r.outcomes[0].after })
	asked("that deleted", func(r *request) { r.outcomes[0].after = nil })
	asked("with another status", func(r *request) { r.outcomes[0].after.status = isNotServing })
	asked("with another status time", func(r *request) { r.outcomes[0].after.statusTime++ })
	asked("with another record", func(r *request) { r.outcomes[0].after.revision++ })
	asked("with another reason", func(r *request) { r.outcomes[0].after.cause.reason = "g" })
	asked("twice", func(r *request) { r.outcomes = append(r.outcomes, r.outcomes[0]) })
	for i, f := range []*logv1.Refusal{{}, {Reason: 2}, {Kind: 1}, {Key: "ef"}, {Field: "ef"}, {Change: 1}, {Problem: 1}, {Value: 1}, {Limit: 1},
		{Given: "ef"}, {Held: "ef"}, {CurrentRevision: 1}} {
		asked(fmt.Sprint("refused ", i), func(r *request) { r.outcomes, r.refusal = nil, f })
	}
	for i, l := range []requestLimits{{1, 1}, {2, 1}, {1, 2}} {
		s := newState()
		s.remembered.limits(requestLimits{}, l)
		note(fmt.Sprint("limits ", i), s.digest())
	}
	for _, horizon := range []int64{2, 3} {
		s := newState()
		s.setHorizon(horizon)
		note(fmt.Sprint("horizon ", horizon), s.digest())
	}
	for _, level := range []uint32{2, 3} {
		s := newState()
		s.setLevel(level)
		note(fmt.Sprint("level ", level), s.digest())
	}
	for i, s := range []*state{{}, {clusterID: "c"}, {revision: 1}, {logTime: 1}} {
		note(fmt.Sprint("scalars ", i), s.digest())
	}
}

// TestP9HashVersion1 holds the hash of a fixed log: if it changes, so must HashVersion, or nodes of
// two versions would take each other for broken.
func TestP9HashVersion1(t *testing.T) {
	h := newHarness(t)
	h.do(t, 10, termStart("c1"), announce(&logv1.Member{Name: "n1", ApiAddress: "a:1", PeerAddress: "p:1", DirectoryId: "d1", Version: "v1", Level: 1}))
	h.do(t, 20, writeFor("deploy", change("a", serving), change("b/c", notServing)))
	h.do(t, 30, write(change("a", gone)))
	const plain = "3aff4f87c564548be3d48d52ba71608f7529076eb97719768f2d3653ed2f5f75"
	if got := h.StateHash(); hex.EncodeToString(got.Hash) != plain {
		t.Errorf("without request ids it is %x, want %s", got.Hash, plain)
	}
	h.do(t, 40, termStartWith(10, 1000))
	h.do(t, 50, withID("x", change("c", serving), change("missing", gone), change("d", unknown)), withID("y", changeIf("c", serving, 99)))
	const want = "2c8688b9a5fbf24f4c1a07ceed999189fcb224cb624379d882145ae90195c4a9"
	if got := h.StateHash(); hex.EncodeToString(got.Hash) != want || got.Version != 1 || got.Index != 5 {
		t.Errorf("state hash %d of entry %d is %x, want %s", got.Version, got.Index, got.Hash, want)
	}
}

// TestP9Comparison: an entry whose proposer held another hash is noticed, counted, and folded as if
// nothing were the matter.
func TestP9Comparison(t *testing.T) {
	var noticed []uint64
	j := newMemRegistryFile()
	f, err := New(Config{RegistryFile: j, OnMismatch: func(index uint64) { noticed = append(noticed, index) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	plain := newHarness(t)
	index := uint64(0)
	apply := func(sh *logv1.StateHash) {
		t.Helper()
		index++
		e := &logv1.Entry{Commands: []*logv1.Command{write(change(fmt.Sprint("s", index), serving))}}
		plain.Apply(logOf(t, index, 1, e))
		e.StateHash = sh
		results(t, f.Apply(logOf(t, index, 1, e)))
	}
	wrong := bytes.Repeat([]byte{7}, 32)
	apply(nil)
	apply(f.HashAt(1))
	apply(&logv1.StateHash{Version: HashVersion, Index: 1, Hash: wrong})
	apply(&logv1.StateHash{Version: HashVersion, Index: 3, Hash: nil})
	apply(&logv1.StateHash{Version: HashVersion + 1, Index: 3, Hash: wrong})
	apply(&logv1.StateHash{Version: HashVersion, Index: 99, Hash: wrong})
	if want := []uint64{1, 3}; !slices.Equal(noticed, want) {
		t.Errorf("mismatches noticed at %v, want %v", noticed, want)
	}
	if got, want := f.HashStats(), (HashStats{Agreed: 1, Mismatched: 2, NotHeld: 1, OtherVersion: 2}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if got, want := f.StateHash(), plain.StateHash(); !bytes.Equal(got.Hash, want.Hash) {
		t.Error("a comparison changed the state")
	}
	if f.HashAt(0) != nil || f.HashAt(99) != nil {
		t.Error("a hash of an entry that was not applied")
	}
}

// TestP9RingOfHashes forgets what is older than its length, and what a restore replaces.
func TestP9RingOfHashes(t *testing.T) {
	h := newHarness(t)
	for range ringHashes + 5 {
		h.do(t, 0)
	}
	if h.HashAt(5) != nil || h.HashAt(6) == nil || h.HashAt(h.index) == nil {
		t.Error("the ring does not hold just the newest entries")
	}
	other := newHarness(t)
	other.index = 50
	for range 10 {
		other.set(t, "x", serving)
		other.set(t, "x", notServing)
	}
	small := newHarness(t)
	small.set(t, "y", serving)
	if err := small.Restore(other.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	if small.HashAt(1) != nil || !bytes.Equal(small.HashAt(other.index).GetHash(), other.StateHash().GetHash()) {
		t.Error("after a restore the ring does not begin with what was restored")
	}
}

// TestP9MemoryFlip: a status that changes in memory is found by a scrub, and by the others when the
// service is written next.
func TestP9MemoryFlip(t *testing.T) {
	h, well := newHarness(t), newHarness(t)
	both := func(name string, st logv1.Status) {
		h.set(t, name, st)
		well.set(t, name, st)
	}
	both("a", serving)
	both("b", serving)
	if !h.Flip("a") || h.Flip("missing") {
		t.Fatal("Flip")
	}
	if st, _ := h.Status("a"); st != isNotServing {
		t.Fatalf("the flipped status is %v", st)
	}
	s, err := h.ScrubMemory(context.Background(), 1)
	if err != nil || s.Agrees() || s.Index != 2 || s.Records != 2 {
		t.Errorf("a scrub finds %+v, %v", s, err)
	}
	both("b", notServing)
	if !bytes.Equal(h.StateHash().Hash, well.StateHash().Hash) {
		t.Error("the hash that is kept changed without a write of that service")
	}
	both("a", unknown)
	if bytes.Equal(h.StateHash().Hash, well.StateHash().Hash) {
		t.Error("the write of a flipped service leaves no trace in the hash")
	}
}

// TestP9LoadIsVerified: a registry file, and a snapshot, whose records are not those it was written with.
func TestP9LoadIsVerified(t *testing.T) {
	altered := func() *harness {
		h := newHarness(t)
		h.set(t, "a", serving)
		h.set(t, "b", serving)
		h.registryFile.services["a"].Report.Status = notServing
		return h
	}
	h := altered()
	if _, err := New(Config{RegistryFile: h.registryFile}); !errors.Is(err, ErrStateHash) {
		t.Errorf("New on an altered registry file: %v", err)
	}
	if s, compared, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || !compared || s.Agrees() || s.Index != 2 {
		t.Errorf("a scrub of an altered registry file: %+v, %v, %v", s, compared, err)
	}
	fresh := newHarness(t)
	if err := fresh.Restore(h.snapshot(t)); !errors.Is(err, ErrStateHash) || !errors.Is(fresh.Halted(), ErrHalted) {
		t.Errorf("Restore of an altered snapshot: %v", err)
	}
	// Of another version, or of none, nothing can be said.
	h.registryFile.meta.StateHash.Version++
	if f, err := New(Config{RegistryFile: h.registryFile}); err != nil {
		t.Errorf("New on a registry file of another hash version: %v", err)
	} else {
		f.Close()
	}
	if _, compared, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || compared {
		t.Errorf("a scrub compares hashes of different versions: %v", err)
	}
}

// TestP9DistrustedTakesNoSnapshot: it would push out the entries the state could be made anew from.
func TestP9DistrustedTakesNoSnapshot(t *testing.T) {
	h := newHarness(t)
	h.set(t, "a", serving)
	h.Distrust()
	if _, err := h.Snapshot(); !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		t.Errorf("Snapshot: %v", err)
	}
}

func TestScrubEndsWithItsContext(t *testing.T) {
	f, _ := benchFSM(t, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.ScrubMemory(ctx, 0.01); !errors.Is(err, context.Canceled) {
		t.Errorf("ScrubMemory: %v", err)
	}
}

// BenchmarkScrubMemory at full speed; in production it takes a hundredth of a core.
func BenchmarkScrubMemory(b *testing.B) {
	const services = 100_000
	f, _ := benchFSM(b, services)
	for b.Loop() {
		if _, err := f.ScrubMemory(context.Background(), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/services, "ns/record")
}
