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
	for _, t := range s.tables {
		t.records.Scan(func(key string, v Value) bool {
			m.add(appendValue(appendHead(nil, t.kind.Number, key), v))
			return true
		})
	}
	bare := *s
	bare.remembered = multiset{}
	for _, r := range s.requests.order {
		bare.remembered.add(append(appendHead(nil, logv1.Kind_KIND_REQUEST, r.place.key()), r.encoded...))
	}
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
	key := logv1.RequestKey(2, 0)
	for name, alter := range map[string]func(*memRegistryFile){
		"cost": func(j *memRegistryFile) { j.editRequest(key, func(r *logv1.RequestRecord) { r.Cost++ }) },
		"time": func(j *memRegistryFile) { j.editRequest(key, func(r *logv1.RequestRecord) { r.Time = 0 }) },
		"result": func(j *memRegistryFile) {
			j.editRequest(key, func(r *logv1.RequestRecord) { r.Result = appendValue(nil, &logv1.StoredResult{Revision: 7}) })
		},
		"lost": func(j *memRegistryFile) { delete(j.records[logv1.Kind_KIND_REQUEST], key) },
		"limits": func(j *memRegistryFile) {
			j.put(logv1.Kind_KIND_SETTING, settingRequestLimits, appendValue(nil, &logv1.Setting{RequestLimits: &logv1.RequestLimits{RequestIds: 8, Window: 100}}))
		},
	} {
		h := withIDs(t, 9, 100)
		h.do(t, 1, withID("x", change("a", serving)))
		h.do(t, 2, withID("y", change("a", notServing)))
		if s, _, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || !s.Agrees() || s.Records != 4 {
			t.Fatalf("a scrub of what is well: %+v, %v", s, err)
		}
		alter(h.registryFile)
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
	service := func(what string, change func(*record, *origin, *actor)) {
		r := record{name: "ab", revision: 3, statusTime: 4, status: isServing}
		c := origin{reason: "cd", requestID: "ef", leaseID: "gh", time: 5}
		by := actor{name: "ij", peer: "kl"}
		change(&r, &c, &by)
		c.actor = internActor(&logv1.Actor{
			Name: by.name, Peer: by.peer, Verified: by.verified, OnBehalfOf: by.onBehalfOf, Credential: by.credential, StaticAdmin: by.staticAdmin,
		})
		r.origin = &c
		s := newState(DefaultKinds())
		s.hash.service(nil, &r)
		note(what, s.digest())
	}
	service("a record", func(*record, *origin, *actor) {})
	service("another name", func(r *record, _ *origin, _ *actor) { r.name = "abc" })
	service("another status", func(r *record, _ *origin, _ *actor) { r.status = isNotServing })
	service("another revision", func(r *record, _ *origin, _ *actor) { r.revision++ })
	service("another status time", func(r *record, _ *origin, _ *actor) { r.statusTime++ })
	service("another time", func(_ *record, c *origin, _ *actor) { c.time++ })
	service("another reason", func(_ *record, c *origin, _ *actor) { c.reason = "c" })
	service("a boundary moved", func(_ *record, c *origin, _ *actor) { c.reason, c.requestID = "cde", "f" })
	service("another lease", func(_ *record, c *origin, _ *actor) { c.leaseID = "" })
	service("another actor", func(_ *record, _ *origin, a *actor) { a.name = "x" })
	service("another peer", func(_ *record, _ *origin, a *actor) { a.peer = "x" })
	service("verified", func(_ *record, _ *origin, a *actor) { a.verified = true })
	service("on behalf of", func(_ *record, _ *origin, a *actor) { a.onBehalfOf = "ij" })
	service("credential", func(_ *record, _ *origin, a *actor) { a.credential = "ij" })
	service("static admin", func(_ *record, _ *origin, a *actor) { a.staticAdmin = true })
	put := func(what string, kind *Kind, key string, v Value) {
		s := newState(DefaultKinds())
		s.put(kind, key, v)
		note(what, s.digest())
	}
	for i, m := range []*logv1.Member{
		{Name: "ab"}, {ApiAddress: "ab"}, {PeerAddress: "ab"}, {DirectoryId: "ab"}, {Version: "ab"}, {Level: 1}, {HoldLevel: 1},
	} {
		put(fmt.Sprint("member ", i), memberKind, "n1", m)
	}
	put("a member with another key", memberKind, "n2", &logv1.Member{Name: "ab"})
	put("a setting with a member's key and bytes", settingKind, "n1", &logv1.Setting{})
	asked := func(what string, change func(*place, *logv1.RequestRecord)) {
		at, p := place{2, 3}, &logv1.RequestRecord{Caller: "ab", RequestId: "cd", Hash: make([]byte, 16), Time: 4, Cost: 1, Result: []byte("ef")}
		change(&at, p)
		r, err := newRequest(string(appendValue(nil, p)), p, at)
		if err != nil {
			t.Fatal(err)
		}
		s := newState(DefaultKinds())
		s.hashRequest(r, (*multiset).add)
		note(what, s.digest())
	}
	asked("a request", func(*place, *logv1.RequestRecord) {})
	asked("of another caller", func(_ *place, p *logv1.RequestRecord) { p.Caller = "a" })
	asked("of no caller", func(_ *place, p *logv1.RequestRecord) { p.Caller = "" })
	asked("with its boundary moved", func(_ *place, p *logv1.RequestRecord) { p.Caller, p.RequestId = "abc", "d" })
	asked("with another content", func(_ *place, p *logv1.RequestRecord) { p.Hash[15]++ })
	asked("of another entry", func(at *place, _ *logv1.RequestRecord) { at.index++ })
	asked("of another position", func(at *place, _ *logv1.RequestRecord) { at.position++ })
	asked("of another time", func(_ *place, p *logv1.RequestRecord) { p.Time++ })
	asked("of another cost", func(_ *place, p *logv1.RequestRecord) { p.Cost++ })
	asked("with another result", func(_ *place, p *logv1.RequestRecord) { p.Result = []byte("e") })
	for i, l := range []*logv1.RequestLimits{{RequestIds: 1, Window: 1}, {RequestIds: 2, Window: 1}, {RequestIds: 1, Window: 2}} {
		put(fmt.Sprint("limits ", i), settingKind, settingRequestLimits, &logv1.Setting{RequestLimits: l})
	}
	for i, s := range []*state{{}, {clusterID: "c"}, {revision: 1}, {logTime: 1}, {horizon: 1}, {level: 1}} {
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
	const plain = "8e5d2c4b80e977176e5eee210496baad62f38377e252e06791a8275270e8d06b"
	if got := h.StateHash(); hex.EncodeToString(got.Hash) != plain {
		t.Errorf("without request ids it is %x, want %s", got.Hash, plain)
	}
	h.do(t, 40, termStartWith(10, 1000))
	h.do(t, 50, withID("x", change("c", serving), change("missing", gone), change("d", unknown)), withID("y", changeIf("c", serving, 99)))
	const want = "7c37834d76db843191dc7be7f661e3a02ecf9f4df8aded566cbd3d9043ccae66"
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
		r := h.registryFile.service("a")
		r.Report.Status = notServing
		h.registryFile.setService(r)
		return h
	}
	h := altered()
	if _, err := New(Config{RegistryFile: h.registryFile}); !errors.Is(err, ErrStateHash) {
		t.Errorf("New on an altered registryFile: %v", err)
	}
	if s, compared, err := h.ScrubRegistryFile(context.Background(), 1); err != nil || !compared || s.Agrees() || s.Index != 2 {
		t.Errorf("a scrub of an altered registryFile: %+v, %v, %v", s, compared, err)
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

// TestP9QuarantinedTakesNoSnapshot: it would push out the entries the state could be made anew from.
func TestP9QuarantinedTakesNoSnapshot(t *testing.T) {
	h := newHarness(t)
	h.set(t, "a", serving)
	h.Quarantine()
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
