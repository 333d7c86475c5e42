package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

func TestRegistryFileKeepsWhatWasAppended(t *testing.T) {
	path := t.TempDir()
	d := openDisk(t, path, lazy)
	if m := d.load().Meta; m.GetIndex() != 0 || m.GetRevision() != 0 || m.GetClusterId() != "" {
		t.Errorf("new registry file says %v", m)
	}
	d.registryFile.Append(storetest.Change(1, "a"))
	d.registryFile.Append(storetest.Change(2, "b"))
	d.registryFile.Append(&logv1.Delta{Index: 3, Term: 2, Revision: 3, LogTime: 5, ClusterID: "3f9a",
		Records: []logv1.Record{storetest.NoService("a"), storetest.Member(&logv1.Member{Name: "n1", ApiAddress: "x:1"})}})
	if c := d.load(); len(c.Records) != 0 {
		t.Errorf("%v is there before any flush", c.Records)
	}
	d.flush()
	want := storetest.Holding(
		&logv1.RegistryMeta{Format: logv1.RegistryFormat, ClusterId: "3f9a", Index: 3, Term: 2, Revision: 3, LogTime: 5, Horizon: 1},
		storetest.Change(2, "b").Records[0], storetest.Member(&logv1.Member{Name: "n1", ApiAddress: "x:1"}))
	storetest.Same(t, d.load(), want)
	if d.registryFile.DurableRevision() != 3 || d.registryFile.Meta().GetDirectoryId() != directoryID {
		t.Errorf("durable: %v", d.registryFile.Meta())
	}
	d.registryFile.Append(storetest.Change(4, "a")) // put after a delete; only Close writes it
	want = want.Apply(storetest.Change(4, "a"))
	want.Meta.Index, want.Meta.Term, want.Meta.Revision, want.Meta.LogTime = 4, 1, 4, 4000
	d.close()

	d = openDisk(t, path, lazy)
	defer d.close()
	storetest.Same(t, d.load(), want)
	d.failures.None(t)
}

func TestRegistryFileFlushesByTimeAndBySize(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var flushes atomic.Int32
		d := openDisk(t, path, Options{
			FlushBytes: 100_000,
			Intercept:  func() error { flushes.Add(1); return nil },
		})
		defer d.close()
		d.changes(1, 1)
		time.Sleep(199 * time.Millisecond)
		d.changes(2, 2) // does not put the first one's flush off
		synctest.Wait()
		if n := flushes.Load(); n != 0 {
			t.Errorf("%d flushes before 200 ms", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := flushes.Load(); n != 1 || d.registryFile.Meta().GetIndex() != 2 {
			t.Errorf("%d flushes after 200 ms, durable %v", n, d.registryFile.Meta())
		}
		d.changes(3, 1000)
		synctest.Wait() // no time passes
		if n := flushes.Load(); n < 2 {
			t.Error("a big backlog waited for the interval")
		}
	})
}

func TestRegistryFileIdleWritesNothing(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var flushes atomic.Int32
		o := Options{Intercept: func() error { flushes.Add(1); return nil }}
		d := openDisk(t, path, o)
		d.changes(1, 1)
		d.flush()
		flushes.Store(0)
		for i := uint64(2); i <= 1000; i++ {
			// What an entry that changed nothing leaves: a later index and log time.
			d.registryFile.Append(&logv1.Delta{Index: i, Term: 1, Revision: 1, LogTime: int64(i) * 1000, ClusterID: "3f9a"})
			time.Sleep(time.Second)
		}
		if n := flushes.Load(); n != 0 {
			t.Errorf("an idle registry file wrote %d times", n)
		}
		if i := d.registryFile.Meta().GetIndex(); i != 1 {
			t.Errorf("durable index %d without a write", i)
		}
		d.flush()
		if i, n := d.registryFile.Meta().GetIndex(), flushes.Load(); i != 1000 || n != 1 {
			t.Errorf("after Flush: durable index %d after %d writes, want 1000 after 1", i, n)
		}
		d.flush()
		d.close()
		if n := flushes.Load(); n != 1 {
			t.Errorf("nothing new, but %d writes", n)
		}
		flushes.Store(0)
		d = openDisk(t, path, o)
		d.registryFile.Append(&logv1.Delta{Index: 1001, Term: 1, Revision: 1, ClusterID: "3f9a"})
		d.close()
		d = openDisk(t, path, o)
		defer d.close()
		if i, n := d.registryFile.Meta().GetIndex(), flushes.Load(); i != 1001 || n != 1 {
			t.Errorf("Close wrote %d times, index %d", n, i)
		}
	})
}

func TestRegistryFileFailedFlushIsReportedOnce(t *testing.T) {
	d := openDisk(t, t.TempDir(), Options{
		FlushInterval: time.Millisecond,
		Intercept:     func() error { return errors.New("no space left on device") },
	})
	d.changes(1, 2)
	storetest.Mention(t, d.registryFile.Flush(t.Context()), FileName, "no space left on device")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(100) {
			d.registryFile.Append(storetest.Change(3+i, "x")) // returns, and does nothing
		}
	}()
	<-done
	if _, err := d.registryFile.Snapshot(); err == nil {
		t.Error("Snapshot of a failed registry file")
	}
	storetest.Mention(t, d.registryFile.Replace(nil), "replace")
	storetest.Mention(t, d.registryFile.Close(), "no space left on device")
	storetest.Mention(t, d.registryFile.Close(), "no space left on device")
	d.failures.One(t, FileName, "no space left on device")

	d = openDisk(t, d.path, lazy)
	defer d.close()
	if i := d.registryFile.Meta().GetIndex(); i != 0 {
		t.Errorf("index %d was written", i)
	}
}

func TestRegistryFileHoldsBackWhoIsFasterThanTheDisk(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// A disk that takes 100 ms: the appender is held back, but nothing fails.
		d := openDisk(t, path, Options{
			FlushBytes: 10_000, MaxBacklogBytes: 20_000,
			Intercept: func() error { time.Sleep(100 * time.Millisecond); return nil },
		})
		defer d.close()
		start := time.Now()
		for i := uint64(1); i <= 1000; i++ {
			d.changes(i, i)
			d.registryFile.mu.Lock()
			bytes := d.registryFile.open.bytes
			d.registryFile.mu.Unlock()
			if bytes > 21_000 {
				t.Fatalf("backlog of %d bytes", bytes)
			}
		}
		d.flush()
		if waited := time.Since(start); waited < 500*time.Millisecond {
			t.Errorf("1000 changes in %v", waited)
		}
		if i := d.registryFile.Meta().GetIndex(); i != 1000 {
			t.Errorf("durable index %d", i)
		}
		d.failures.None(t)
	})
}

// A disk that is slower than what it is fed makes Append wait. It is no failure, however long that is.
func TestRegistryFileOnASlowDisk(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, Options{
			FlushBytes: 10_000, MaxBacklogBytes: 20_000,
			Intercept: func() error { time.Sleep(20 * time.Second); return nil },
		})
		defer d.close()
		start := time.Now()
		d.changes(1, 1000)
		if waited := time.Since(start); waited < time.Minute {
			t.Errorf("1000 changes in %v", waited)
		}
		d.failures.None(t)
	})
}

// A flush that does not end fails the registry file, also when nothing is appended meanwhile.
func TestRegistryFileFailsWithoutProgress(t *testing.T) {
	for name, changes := range map[string]uint64{"Append waits": 1000, "nothing waits": 1} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				disk := make(chan struct{})
				d := openDisk(t, path, Options{
					FlushBytes: 10_000, MaxBacklogBytes: 20_000,
					Intercept: func() error { <-disk; return nil },
				})
				start := time.Now()
				d.changes(1, changes)
				if err := d.registryFile.Flush(t.Context()); err == nil {
					t.Error("a flush succeeded")
				}
				if waited := time.Since(start); waited < watchdog.NoProgress || waited > watchdog.NoProgress+time.Second {
					t.Errorf("it failed after %v", waited)
				}
				d.failures.One(t, FileName, "no progress", "30s")
				close(disk)
				storetest.Mention(t, d.registryFile.Close(), "no progress")
				d.failures.None(t)
			})
		})
	}
}

// A backlog bound below the flush size must not wait for the interval.
func TestRegistryFileWithSmallBacklogBound(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, Options{MaxBacklogBytes: 2_000, FlushInterval: time.Hour})
		defer d.close()
		start := time.Now()
		d.changes(1, 200)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRegistryFileClosed(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	d.changes(1, 1)
	d.close()
	d.registryFile.Append(storetest.Change(2, "x"))
	if err := d.registryFile.Flush(t.Context()); err != nil {
		t.Errorf("Flush: %v", err)
	}
	if _, err := storetest.LoadContent(d.registryFile); !errors.Is(err, vfs.ErrClosed) {
		t.Errorf("Load: %v", err)
	}
	if _, err := d.registryFile.Snapshot(); !errors.Is(err, vfs.ErrClosed) {
		t.Errorf("Snapshot: %v", err)
	}
	d.failures.None(t)
}

// TestRegistryFileCrash copies the directory at random moments, as a machine that lost power would leave
// it, and requires every copy to hold exactly what was appended up to one log entry.
func TestRegistryFileCrash(t *testing.T) {
	base := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	const seq = 400
	images := 0
	states := map[uint64]storetest.Content{0: {Meta: &logv1.RegistryMeta{Format: logv1.RegistryFormat, Horizon: 1}}}
	now := storetest.Content{}
	d := openDisk(t, base+"/live", Options{FlushBytes: 8_000, FlushInterval: 2 * time.Millisecond})
	for i := uint64(1); i <= seq; i++ {
		delta := randomDelta(rng, i)
		now = apply(now, delta)
		states[i] = now
		d.registryFile.Append(delta)
		if rng.IntN(20) != 0 {
			continue
		}
		images++
		image := fmt.Sprintf("%s/image-%d", base, images)
		d.registryFile.disk <- struct{}{} // between flushes
		storetest.CopyDir(t, d.path, image)
		durable := d.registryFile.DurableIndex()
		<-d.registryFile.disk
		crashed := openDisk(t, image, lazy)
		have := crashed.load()
		if index := have.Meta.GetIndex(); index != durable {
			t.Fatalf("image holds index %d, the registry file said %d", index, durable)
		}
		storetest.Same(t, have, states[durable])
		crashed.failures.None(t)
		crashed.close()
		os.RemoveAll(image)
	}
	d.close()
	if images < 5 {
		t.Fatalf("only %d images", images)
	}
}

// randomDelta is of one log entry.
func randomDelta(rng *rand.Rand, index uint64) *logv1.Delta {
	d := &logv1.Delta{Index: index, Term: 1 + index/100, Revision: int64(index), LogTime: int64(index) * 10, ClusterID: "3f9a"}
	put := map[string]bool{}
	for range rng.IntN(4) {
		name := fmt.Sprintf("svc-%02d", rng.IntN(30))
		if put[name] {
			continue
		}
		put[name] = true
		if rng.IntN(4) == 0 {
			d.Records = append(d.Records, storetest.NoService(name))
		} else {
			d.Records = append(d.Records, storetest.Service(&logv1.ServiceRecord{Service: name, StatusTime: int64(index)}))
		}
		d.Events = []*logv1.Event{{Revision: int64(index), Kind: logv1.Kind_KIND_SERVICE, Key: name}}
	}
	if rng.IntN(20) == 0 {
		d.Records = append(d.Records, storetest.Member(&logv1.Member{Name: fmt.Sprint("n", rng.IntN(5)), Version: fmt.Sprint(index)}))
	}
	// Each entry remembers up to two requests; those of forty entries back are forgotten, of whom not
	// all are there.
	for position := range uint32(rng.IntN(3)) {
		d.Records = append(d.Records, storetest.Request(index, position, &logv1.RequestRecord{RequestId: fmt.Sprint("r", index),
			Hash: make([]byte, 16), Result: fmt.Append(nil, index)}))
	}
	if index > 40 {
		for position := range uint32(2) {
			d.Records = append(d.Records, logv1.Record{Kind: logv1.Kind_KIND_REQUEST, Key: logv1.RequestKey(index-40, position)})
		}
	}
	if rng.IntN(30) == 0 {
		// Of a kind that this package has never heard of, with a key that is no text.
		d.Records = append(d.Records, logv1.Record{Kind: 4711, Key: "\x00\xff", Value: &logv1.Setting{RequestLimits: &logv1.RequestLimits{RequestIds: uint32(index)}}})
	}
	return d
}

// apply is the model: what a registry file holds after one more delta.
func apply(c storetest.Content, d *logv1.Delta) storetest.Content {
	next := c.Apply(d)
	next.Meta = &logv1.RegistryMeta{Format: logv1.RegistryFormat, Horizon: 1, ClusterId: d.ClusterID, Index: d.Index, Term: d.Term,
		Revision: d.Revision, LogTime: d.LogTime}
	return next
}

func TestRegistryFileLoadDetectsADamagedRecord(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	d.changes(1, 3)
	d.flush()
	sealedRecord, err := logv1.Seal(&logv1.ServiceRecord{StatusTime: 7})
	if err != nil {
		t.Fatal(err)
	}
	corrupt(t, d.registryFile, bucketServices, []byte("shop/svc-2"), sealedRecord[:len(sealedRecord)-1])
	_, err = storetest.LoadContent(d.registryFile)
	storetest.Mention(t, err, "bucket kind.1", `"shop/svc-2"`, "checksum")
	if !errors.Is(err, vfs.ErrDamaged) {
		t.Errorf("%v is not ErrDamaged", err)
	}
}

func TestRegistryMetaIsACopy(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	m := d.registryFile.Meta()
	before := proto.CloneOf(m)
	m.Index = 4711
	if !proto.Equal(d.registryFile.Meta(), before) {
		t.Error("changing the returned meta changed the registry file's")
	}
}

// Flushes that take long are rarer, but for who waits for one.
func TestSlowFlushesAreRare(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var slow, ended atomic.Int64 // a duration; Unix nanoseconds
		d := openDisk(t, path, Options{
			Intercept: func() error { time.Sleep(time.Duration(slow.Load())); return nil },
			OnFlushed: func(Flush) { ended.Store(time.Now().UnixNano()) },
		})
		defer d.close()
		revision := uint64(1)
		waited := func() time.Duration {
			start := time.Now()
			d.changes(revision, revision)
			revision++
			time.Sleep(10 * time.Second)
			return time.Unix(0, ended.Load()).Sub(start)
		}
		for _, tt := range []struct{ slow, want time.Duration }{
			{5 * time.Millisecond, 205 * time.Millisecond},
			{50 * time.Millisecond, 250 * time.Millisecond}, // as the one before took 5 ms
			{50 * time.Millisecond, 1050 * time.Millisecond},
			{time.Second, 2 * time.Second},
			{time.Second, 4 * time.Second}, // no longer than 3 s, and the flush
			{0, 3 * time.Second},
			{0, 200 * time.Millisecond},
		} {
			slow.Store(int64(tt.slow))
			if got := waited(); got != tt.want {
				t.Errorf("a flush of %v ends after %v, want %v", tt.slow, got, tt.want)
			}
		}
		slow.Store(int64(time.Second))
		waited()
		for _, early := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
			start := time.Now()
			d.changes(revision, revision)
			time.Sleep(early)
			if err := d.registryFile.AwaitDurable(context.Background(), int64(revision)); err != nil {
				t.Fatal(err)
			}
			revision++
			if got, want := time.Since(start), time.Second+max(early, 200*time.Millisecond); got != want {
				t.Errorf("awaited after %v: durable after %v, want %v", early, got, want)
			}
		}
	})
}

// TestExportEndsWithItsContext: a disk that is stuck does not hold up whoever gives up, as a node that stops does.
func TestExportEndsWithItsContext(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		d := openDisk(t, path, Options{Intercept: func() error { <-disk; return nil }})
		d.changes(1, 10)
		for _, wait := range []time.Duration{0, time.Second} { // while nothing is written yet, and during the write
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(wait, cancel)
			start := time.Now()
			if _, err := d.registryFile.Export(ctx); !errors.Is(err, context.Canceled) || time.Since(start) != wait {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		close(disk)
		d.close()
	})
}
