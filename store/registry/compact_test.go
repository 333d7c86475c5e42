package registry

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/store/storetest"
)

// TestCompactionModel drives a registry file by random writes, compactions, steps of these, restarts,
// crashes and snapshots. After each the file holds exactly the events it should.
func TestCompactionModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path, err := os.MkdirTemp(fastDir(), "registry-compaction-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(path)
		o := lazy
		o.compactByHand, o.compactEvents = true, rapid.IntRange(1, 9).Draw(rt, "events in a step")
		d := openDisk(t, path, o)
		defer func() { d.close() }()
		h := newHistory(rapid.Uint64().Draw(rt, "seed"))
		horizon := int64(1)
		var stream []byte
		flush := func(rt *rapid.T) {
			if err := d.registryFile.Flush(t.Context()); err != nil {
				rt.Fatal(err)
			}
		}
		durable := h.revision()
		// forget takes back what was not durable.
		forget := func() {
			meta := d.registryFile.Meta()
			h.index, h.events = meta.GetIndex(), h.events[:meta.GetRevision()]
			horizon, durable = max(meta.GetHorizon(), 1), meta.GetRevision()
			h.exists = map[string]bool{}
			for _, e := range h.events {
				h.exists[e.Key] = !e.Deletes
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(rt, "n") {
					d.registryFile.Append(h.next())
				}
			},
			"compact": func(*rapid.T) {
				horizon = h.boundary(horizon)
				d.registryFile.Append(h.compactTo(horizon))
			},
			"flush": func(rt *rapid.T) {
				flush(rt)
				durable = h.revision()
			},
			"step": func(rt *rapid.T) {
				before := compactedTo(d.registryFile.Meta())
				if err := d.registryFile.compact(); err != nil {
					rt.Fatal(err)
				}
				after, end := compactedTo(d.registryFile.Meta()), max(d.registryFile.Meta().GetHorizon(), 1)
				if want := min(end, before+int64(o.compactEvents)); after > want || after <= before && before < end {
					rt.Fatalf("a step of %d goes from %d to %d; the horizon is %d", o.compactEvents, before, after, end)
				}
			},
			"reopen": func(rt *rapid.T) {
				d.close()
				f, err := OpenReader(d.registryFile.path)
				if err != nil {
					rt.Fatal(err)
				}
				problems := problemsOf(f.Check(storetest.Kinds{}, inspectNothing))
				if err := f.Close(); err != nil || len(problems) > 0 {
					rt.Fatal(problems, err)
				}
				d = openDisk(t, path, o)
				durable = h.revision()
			},
			"crash": func(*rapid.T) {
				image := path + "-image"
				storetest.CopyDir(t, path, image)
				d.close()
				os.RemoveAll(path)
				if err := os.Rename(image, path); err != nil {
					t.Fatal(err)
				}
				d = openDisk(t, path, o)
				forget()
			},
			"snapshot": func(*rapid.T) {
				stream = d.stream()
				durable = h.revision()
			},
			"replace": func(rt *rapid.T) {
				if stream == nil {
					rt.Skip("no snapshot yet")
				}
				if err := d.registryFile.Replace(bytes.NewReader(stream)); err != nil {
					rt.Fatal(err)
				}
				stream = nil // what comes now is another history
				forget()
			},
			"": func(rt *rapid.T) {
				if err := h.check(d.registryFile, durable); err != nil {
					rt.Fatal(err)
				}
			},
		})
		d.failures.None(t)
	})
}

func compacted(j *File) bool { return behind(j.Meta()) <= 0 }

// compact makes as many steps as it takes: how much one does depends on the machine.
func (d *disk) compact() {
	d.t.Helper()
	for !compacted(d.registryFile) {
		if err := errors.Join(d.registryFile.compact(), d.registryFile.history); err != nil {
			d.t.Fatal(err)
		}
	}
}

// The writer compacts by itself, between flushes, and goes on after a restart or with a snapshot.
func TestCompactionGoesOnByItself(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := Options{compactEvents: 5}
		d, h := openDisk(t, path, o), newHistory(3)
		defer func() { d.close() }()
		for range 300 {
			d.registryFile.Append(h.next())
		}
		d.registryFile.Append(h.compactTo(h.boundary(h.revision() - 20)))
		d.flush()
		if compacted(d.registryFile) {
			t.Fatal("it was compacted by the flush")
		}
		for part := 0; !compacted(d.registryFile); part++ {
			time.Sleep(3 * time.Millisecond)
			before := d.registryFile.Meta().GetCompacted()
			switch part {
			case 0:
				d.close()
				d = openDisk(t, path, o)
			case 1:
				if err := d.registryFile.Replace(bytes.NewReader(d.stream())); err != nil {
					t.Fatal(err)
				}
			case 2: // a flush is not held up by it
				d.registryFile.Append(h.next())
				start := time.Now()
				if d.flush(); time.Since(start) > 0 {
					t.Errorf("a flush took %v", time.Since(start))
				}
			case 1000:
				t.Fatalf("it does not end; it is at %d of %d", before, d.registryFile.Meta().GetHorizon())
			}
			if now := d.registryFile.Meta().GetCompacted(); now < before {
				t.Errorf("it went back from %d to %d", before, now)
			}
		}
		if err := h.check(d.registryFile, h.revision()); err != nil {
			t.Error(err)
		}
		d.failures.None(t)
	})
}

func TestCompactionRestsBetweenSteps(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const step = 10 * time.Millisecond
		d, h := openDisk(t, path, Options{
			compactEvents: 5,
			Intercept:     func() error { time.Sleep(step); return nil },
		}), newHistory(3)
		defer d.close()
		for range 200 {
			d.registryFile.Append(h.next())
		}
		d.registryFile.Append(h.compactTo(h.revision() + 1))
		d.flush()
		start := time.Now()
		for !compacted(d.registryFile) {
			time.Sleep(time.Millisecond)
		}
		steps := (h.revision() + 4) / 5
		if took, least := time.Since(start), 2*step*time.Duration(steps-1); took < least {
			t.Errorf("%d steps took %v, less than %v", steps, took, least)
		}
	})
}

// Far behind, steps are ten times as large and there is no rest, until it is no longer far.
func TestCompactionHurriesWhenFarBehind(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const step = 10 * time.Millisecond
		d, h := openDisk(t, path, Options{
			FlushInterval: time.Hour,
			compactEvents: 2, hurryBehind: 40,
			Intercept: func() error { time.Sleep(step); return nil },
		}), newHistory(3)
		defer d.close()
		for h.revision() < 300 {
			d.registryFile.Append(h.next())
		}
		horizon := h.revision() + 1
		d.registryFile.Append(h.compactTo(horizon))
		d.flush()
		type at struct {
			after     time.Duration
			compacted int64
		}
		var seen []at
		start := time.Now()
		for !compacted(d.registryFile) {
			time.Sleep(time.Millisecond)
			if c := compactedTo(d.registryFile.Meta()); c > 1 && (len(seen) == 0 || c > seen[len(seen)-1].compacted) {
				seen = append(seen, at{time.Since(start), c})
			}
		}
		for i, s := range seen[1:] {
			before, last := seen[i], int64(1) // where the step before this one began
			if i > 0 {
				last = seen[i-1].compacted
			}
			size, least := int64(2), 2*step
			if horizon-before.compacted > 40 {
				size = 20
			}
			if horizon-last > 40 {
				least = step // without a rest after that
			}
			if i+2 < len(seen) && s.compacted-before.compacted != size {
				t.Errorf("a step from %d to %d, %d before the horizon", before.compacted, s.compacted, horizon-before.compacted)
			}
			if took := s.after - before.after; took < least-step/2 || took > least+step/2 {
				t.Errorf("a step of %d events came after %v", size, took)
			}
		}
		if err := h.check(d.registryFile, h.revision()); err != nil {
			t.Error(err)
		}
	})
}

func TestCompactionOfADamagedHistoryStopsAndTheNodeGoesOn(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d, h := openDisk(t, path, Options{compactEvents: 5}), newHistory(3)
		defer d.close()
		for range 100 {
			d.registryFile.Append(h.next())
		}
		d.flush()
		stream := d.stream()
		removeEvent(t, d.registryFile, 23)
		d.registryFile.Append(h.compactTo(h.revision() + 1))
		d.flush()
		time.Sleep(time.Minute)
		if at := d.registryFile.Meta().GetCompacted(); at != 21 {
			t.Errorf("it went on to %d", at)
		}
		if n := bytes.Count(d.logged.Bytes(), []byte("revision 23 is missing")); n != 1 {
			t.Errorf("it was said %d times: %s", n, d.logged)
		}
		d.registryFile.Append(h.next())
		d.flush()
		d.failures.None(t)
		// Another file is another history.
		if err := d.registryFile.Replace(bytes.NewReader(stream)); err != nil {
			t.Fatal(err)
		}
		h = &history{rng: h.rng, exists: h.exists, index: d.registryFile.Meta().GetIndex(), events: h.events[:d.registryFile.DurableRevision()]}
		d.registryFile.Append(h.compactTo(h.revision() + 1))
		d.flush()
		time.Sleep(time.Minute)
		if err := h.check(d.registryFile, h.revision()); err != nil || !compacted(d.registryFile) {
			t.Error(err, d.registryFile.Meta())
		}
	})
}

func TestCompactionThatCannotBeWrittenFailsTheRegistryFile(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		flushes := 0
		d, h := openDisk(t, path, Options{FlushInterval: time.Hour, Intercept: func() error {
			if flushes++; flushes > 1 {
				return errors.New("no space left on device")
			}
			return nil
		}}), newHistory(3)
		for range 50 {
			d.registryFile.Append(h.next())
		}
		d.registryFile.Append(h.compactTo(9))
		d.flush()
		time.Sleep(time.Minute)
		d.failures.One(t, FileName, "no space left on device")
		storetest.Mention(t, d.registryFile.Close(), "no space left on device")
	})
}

// used is how many bytes of the file were ever used, free pages included; the file itself grows by
// 16 MiB at a time.
func used(t testing.TB, j *File) (size int64) {
	t.Helper()
	err := j.db.View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestCompactionBoundsTheFile writes much more than is kept, which is deleted as fast.
func TestCompactionBoundsTheFile(t *testing.T) {
	const kept, services = 5_000, 1000
	o := lazy
	o.compactByHand = true
	path, err := os.MkdirTemp(fastDir(), "registry-size-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(path)
	d := openDisk(t, path, o)
	defer d.close()
	sizes := map[int64]int64{} // by revision
	for i := range 6 * kept / 100 {
		delta := storetest.HundredChangesOf(i, services)
		if delta.Revision > kept && i%10 == 0 {
			delta.Horizon = delta.Revision - kept + 1
		}
		d.registryFile.Append(delta)
		if i%5 == 4 {
			d.flush()
			d.compact()
		}
		sizes[delta.Revision] = used(t, d.registryFile)
	}
	early, late := sizes[3*kept], sizes[6*kept]
	t.Logf("%d KiB are used after %d events, %d KiB after %d", early>>10, 3*kept, late>>10, 6*kept)
	if late > early+early/4 {
		t.Error("the file grows without bound")
	}
}
