package fsm

import (
	"context"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/rules"
)

// Scrub is the result of checking all records: the state hash that the fold kept, and the one that is
// computed from the records. They differ if memory or disk has changed by itself, or if the fold forgot to
// account for a change.
type Scrub struct {
	Index      uint64 // of the log entry after which both should be the same
	Kept, Have Digest
	Records    int

	version uint32 // of the hashes
	// Derived says what does not follow from the records although it should: the index of the overrides, what the
	// rules count, or what is attached to leases. "": nothing.
	Derived string
}

// Agrees says whether nothing is wrong.
func (s Scrub) Agrees() bool { return s.Kept == s.Have && s.Derived == "" }

// derivedDiffers computes the layers, the counts of the rules and what is attached to leases anew, and compares.
func (v *view) derivedDiffers(step func() error) (what string, err error) {
	anew := v.buildLayers()
	if !anew.Same(v.layers) {
		return "the index of the overrides is not that of their records", nil
	}
	book := rules.Build(nil, v.allRules("", nil), anew, slowTree{tree{&v.state}, func() {
		if err == nil {
			err = step()
		}
	}})
	if err == nil && !book.Same(v.book) {
		return "the rules count other services than there are", nil
	}
	if err != nil {
		return "", err
	}
	if differs, err := v.attachedDiffers(step); differs || err != nil {
		return "other reports are attached to leases than their records say", err
	}
	if differs, err := v.accessDiffers(step); differs || err != nil {
		return "the index of the tokens is not that of their records", err
	}
	return "", nil
}

// slowTree is a tree that makes a step before each service of a scan.
type slowTree struct {
	tree
	step func()
}

// Scan implements rules.Services.
func (t slowTree) Scan(from, to string, visit func(string, servingStatus)) {
	t.tree.Scan(from, to, func(name string, reported servingStatus) {
		t.step()
		visit(name, reported)
	})
}

// Hashes returns the state hashes of Index that this node has found: one, or two that differ.
func (s Scrub) Hashes() []*logv1.StateHash {
	hashes := []*logv1.StateHash{s.Kept.proto(s.version, s.Index)}
	if !s.Agrees() {
		hashes = append(hashes, s.Have.proto(s.version, s.Index))
	}
	return hashes
}

// ScrubMemory computes the state hash of one cut from its records. It uses at most share of a core (0.01: one
// percent), and holds up nobody, because a cut never changes. The error is ctx's.
//
// The table of request ids is not checked here: only raft's goroutine may read it, and it changes with every
// write, so a cut does not hold it. Its part of the hash is taken as it was kept. A bit that flips in that
// table changes the state hash when the request is forgotten, and the other nodes then notice it.
// ScrubRegistryFile checks the request ids on disk.
func (f *FSM) ScrubMemory(ctx context.Context, share float64) (Scrub, error) {
	v := f.view.Load()
	pace := newPace(share)
	var records multiset
	count := 0
	step := func() error {
		count++
		return pace.step(ctx)
	}
	for _, kind := range v.kinds.all {
		var err error
		switch {
		case kind.tuned == nil:
			err = v.hashTable(kind, &records, step)
		case kind.tuned.hashAll != nil:
			err = kind.tuned.hashAll(v, &records, step)
		}
		if err != nil {
			return Scrub{}, err
		}
	}
	hashed := count
	derived, err := v.derivedDiffers(step)
	if err != nil {
		return Scrub{}, err
	}
	return Scrub{Index: v.index, Kept: v.hashed, Have: v.digestOf(records), Records: hashed, version: v.hashVersion, Derived: derived}, nil
}

// hashTable is tuned.hashAll for the kinds that have a table.
func (v *view) hashTable(kind *Kind, m *multiset, step func() error) (err error) {
	var canonical []byte
	v.tables.find(kind).records.Scan(func(key string, r Value) bool {
		canonical = appendValue(appendHead(canonical[:0], kind.Number, key), r)
		m.add(canonical)
		err = step()
		return err == nil
	})
	return err
}

// ScrubRegistryFile is ScrubMemory for the durable records in the registry file. compared is false if the
// file holds no state hash of this version. The error is ctx's or the registry file's.
//
// It reads the file in one transaction, during which the file can only grow. So ctx should bound it.
func (f *FSM) ScrubRegistryFile(ctx context.Context, share float64) (_ Scrub, compared bool, err error) {
	pace := newPace(share)
	s := state{hashVersion: f.cfg.HashVersion}
	records := 0
	var canonical []byte
	meta, err := f.cfg.RegistryFile.Scan(ctx, logv1.VisitorFunc(func(kind logv1.Kind, _ int, part []logv1.KeyValue) error {
		for _, r := range part {
			canonical = append(appendHead(canonical[:0], kind, string(r.Key)), r.Value...)
			s.hash.add(canonical)
			records++
			if err := pace.step(ctx); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		return Scrub{}, false, err
	}
	stored := meta.GetStateHash()
	if stored.GetVersion() != f.cfg.HashVersion {
		return Scrub{}, false, nil
	}
	s.takeMeta(meta)
	result := Scrub{version: f.cfg.HashVersion, Index: meta.GetIndex(), Have: s.digest(), Records: records}
	copy(result.Kept[:], stored.GetHash())
	return result, true, nil
}

// paceRecords is how many records are hashed before the clock is read again.
const paceRecords = 256

// paceSlice is how long a pace works without rest: short enough that nobody waits for the core.
const paceSlice = time.Millisecond

// pace keeps a long computation to a share of one core.
type pace struct {
	rest  float64 // it rests so many times as long as it worked
	begun time.Time
	steps int
}

func newPace(share float64) *pace {
	return &pace{rest: max(0, 1/share-1), begun: time.Now()}
}

// step is called after each record and rests when it is time to. The error is ctx's.
func (p *pace) step(ctx context.Context) error {
	if p.steps++; p.steps%paceRecords != 0 {
		return nil
	}
	worked := time.Since(p.begun)
	if worked < paceSlice {
		return ctx.Err()
	}
	rest := time.NewTimer(time.Duration(float64(worked) * p.rest))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.begun = time.Now()
	return nil
}

// Quarantine stops the taking of snapshots, for good. It is called when this node has found that its state is
// not the cluster's. A snapshot of that state would replace the entries from which the right state can be
// rebuilt.
func (f *FSM) Quarantine() { f.quarantined.Store(true) }

// Quarantined says whether Quarantine was called.
func (f *FSM) Quarantined() bool { return f.quarantined.Load() }

// Flip is for tests: it has the status of a service changed in memory, behind the fold's back, as a
// defect of the machine might. It is called by raft's goroutine, see Config.Intercept.
func (f *FSM) Flip(name string) bool {
	before := f.state.get(name)
	if before == nil {
		return false
	}
	after := *before
	after.status ^= 3 // SERVING to NOT_SERVING and back: two bits, 1 and 2
	f.state.services.Set(&after)
	f.published.Put(after.name, after.status)
	f.view.Store(nextView(f.state, f.index, f.view.Load().hashed, nil, true))
	return true
}
