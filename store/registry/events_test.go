package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// recorded is a registry file that holds n entries of a history.
func recorded(t testing.TB, n int) (*disk, *history) {
	t.Helper()
	return recordedIn(t, t.TempDir(), n)
}

func recordedIn(t testing.TB, path string, n int) (*disk, *history) {
	t.Helper()
	d, h := openDisk(t, path, lazy), newHistory(1)
	for range n {
		d.registryFile.Append(h.next())
	}
	d.flush()
	return d, h
}

func TestEvents(t *testing.T) {
	d, h := recorded(t, 200)
	defer d.close()
	last := h.revision()
	for _, service := range append([]string{"", "nobody", "a/", "aa"}, historyNames...) {
		for _, limits := range [][2]int64{{1, 0}, {1, last}, {0, 0}, {-5, 3}, {7, 9}, {50, 50}, {last - 1, last + 10}, {last + 1, 0}, {9, 7}} {
			for _, descending := range []bool{false, true} {
				q := logv1.EventQuery{From: limits[0], To: limits[1], Descending: descending}
				if service != "" {
					q.Kind, q.Key = logv1.Kind_KIND_SERVICE, service
				}
				var want []*logv1.Event
				for _, e := range h.events {
					if e.Revision >= q.From && (q.To == 0 || e.Revision <= q.To) && (service == "" || e.ServiceName() == service) {
						want = append(want, e)
					}
				}
				if descending {
					slices.Reverse(want)
				}
				have, span, err := listEvents(d.registryFile, q)
				if err != nil {
					t.Fatalf("%+v: %v", q, err)
				}
				if !slices.EqualFunc(have, want, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
					t.Errorf("%+v: events %v, want %v", q, revisions(have), revisions(want))
				}
				if span != (logv1.EventSpan{Oldest: 1, Newest: last}) {
					t.Errorf("%+v: span %+v", q, span)
				}
			}
		}
	}
}

func TestEventsOfAnEmptyRegistryFile(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	events, span, err := listEvents(d.registryFile, logv1.EventQuery{From: 1})
	if len(events) != 0 || span != (logv1.EventSpan{Oldest: 1}) || err != nil {
		t.Errorf("%v, %+v, %v", events, span, err)
	}
	if r, span, err := d.registryFile.RevisionAt(context.Background(), 5); r != 0 || span.Oldest != 1 || err != nil {
		t.Errorf("revision %d, %+v, %v", r, span, err)
	}
}

func TestEventsThatAreNotDurableAreNotVisited(t *testing.T) {
	d, h := recorded(t, 20)
	defer d.close()
	last := h.revision()
	for range 20 {
		d.registryFile.Append(h.next())
	}
	events, span, err := listEvents(d.registryFile, logv1.EventQuery{From: 1})
	if int64(len(events)) != last || span.Newest != last || err != nil {
		t.Errorf("%d events, %+v, %v; want %d", len(events), span, err, last)
	}
}

func TestEventsAt(t *testing.T) {
	d, h := recorded(t, 150)
	defer d.close()
	for revision := int64(0); revision <= h.revision()+1; revision += 5 {
		for _, prefix := range []string{"", "a", "a/", "b", "x", "\u00e9"} {
			newest := map[string]int64{}
			for _, e := range h.events {
				if e.Revision <= revision && e.Kind == logv1.Kind_KIND_SERVICE && strings.HasPrefix(e.Key, prefix) {
					newest[e.Key] = e.Revision
				}
			}
			for _, limit := range []int{1, 3, 100} {
				have, after := map[string]int64{}, ""
				for {
					n := 0
					_, err := d.registryFile.EventsAt(context.Background(), logv1.Kind_KIND_SERVICE, revision, prefix, after, limit, func(e *logv1.Event) (bool, error) {
						if e.Key <= after {
							t.Fatalf("%q comes after %q", e.Key, after)
						}
						n++
						after = e.Key
						have[after] = e.Revision
						return true, nil
					})
					if err != nil {
						t.Fatal(err)
					}
					if n < limit {
						break
					}
				}
				if fmt.Sprint(have) != fmt.Sprint(newest) {
					t.Fatalf("at %d, prefix %q, pages of %d: %v, want %v", revision, prefix, limit, have, newest)
				}
			}
		}
	}
}

func TestRevisionAt(t *testing.T) {
	d, h := recorded(t, 150)
	defer d.close()
	for time := int64(-1); time <= 160*5; time++ {
		want := int64(0)
		for _, e := range h.events {
			if e.Time <= time && e.CommitRevision == e.Revision {
				want = e.Revision
			}
		}
		if have, _, err := d.registryFile.RevisionAt(context.Background(), time); have != want || err != nil {
			t.Fatalf("at %d: revision %d, %v; want %d", time, have, err, want)
		}
	}
}

func TestEventsEndEarly(t *testing.T) {
	mine := errors.New("mine")
	read := func(d *disk, ctx context.Context, visit func() (bool, error)) error {
		_, err := d.registryFile.Events(ctx, logv1.EventQuery{From: 1}, func(*logv1.Event) (bool, error) { return visit() })
		return err
	}
	t.Run("with the visitor's error as it is", func(t *testing.T) {
		d, _ := recorded(t, 20)
		defer d.close()
		if err := read(d, context.Background(), func() (bool, error) { return true, mine }); err != mine {
			t.Errorf("error %v", err)
		}
		if _, err := d.registryFile.EventsAt(context.Background(), logv1.Kind_KIND_SERVICE, 9, "", "", 9, func(*logv1.Event) (bool, error) { return true, mine }); err != mine {
			t.Errorf("EventsAt: error %v", err)
		}
	})
	for _, tt := range []struct {
		name string
		end  func(d *disk, cancel func())
		want error
	}{
		{"with the context", func(_ *disk, cancel func()) { cancel() }, context.Canceled},
		{"when the registry file is closed", func(d *disk, _ func()) { d.close() }, ErrScanEnded},
		{"when the registry file is replaced", func(d *disk, _ func()) {
			if err := d.registryFile.Replace(bytes.NewReader(d.stream())); err != nil {
				d.t.Error(err)
			}
		}, ErrScanEnded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d, _ := recordedIn(t, path, 50)
				defer d.close()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				visited, ended := 0, make(chan error, 1)
				go func() {
					ended <- read(d, ctx, func() (bool, error) {
						visited++
						time.Sleep(10 * time.Second)
						return true, nil
					})
				}()
				synctest.Wait()
				tt.end(d, cancel)
				if err := <-ended; !errors.Is(err, tt.want) {
					t.Errorf("it ends with %v, want %v", err, tt.want)
				}
				if visited != 1 {
					t.Errorf("%d events were visited, not only the one under way", visited)
				}
			})
		})
	}
	t.Run("after Close", func(t *testing.T) {
		d, _ := recorded(t, 5)
		d.close()
		if err := read(d, context.Background(), func() (bool, error) { return true, nil }); !errors.Is(err, vfs.ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

func remove(t *testing.T, j *File, bucket, key []byte) {
	t.Helper()
	if err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete(key) }); err != nil {
		t.Fatal(err)
	}
}

// A missing or damaged event is an error that says which, never a gap.
func TestEventsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, d *disk)
		want   string
	}{
		{"missing", func(t *testing.T, d *disk) { removeEvent(t, d.registryFile, 9) }, "revision 9 is missing"},
		{"missing at the end", func(t *testing.T, d *disk) {
			removeEvent(t, d.registryFile, d.registryFile.DurableRevision())
		}, "is missing"},
		{"damaged", func(t *testing.T, d *disk) { corruptEvent(t, d.registryFile, 9, []byte("rubbish")) }, "bucket events"},
		{"another's", func(t *testing.T, d *disk) {
			corruptEvent(t, d.registryFile, 9, sealedBlock(t, &logv1.Event{Revision: 8}))
		}, "events from revision 8 on"},
		{"there twice", func(t *testing.T, d *disk) {
			corrupt(t, d.registryFile, bucketEvents, revisionKey(9), sealedBlock(t, &logv1.Event{Revision: 9}))
		}, "bucket events: damaged: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := recorded(t, 50)
			defer d.close()
			tt.damage(t, d)
			for _, descending := range []bool{false, true} {
				_, _, err := listEvents(d.registryFile, logv1.EventQuery{From: 1, Descending: descending})
				storetest.Mention(t, err, tt.want)
				if !errors.Is(err, vfs.ErrDamaged) {
					t.Errorf("%v is not ErrDamaged", err)
				}
			}
		})
	}
}

// A damaged end of the history, found while the registry file is open, is no reason to write no more.
func TestEventsGoOnAfterADamagedBlock(t *testing.T) {
	d, h := recorded(t, 50)
	defer d.close()
	isolate(t, d.registryFile, h.revision()-3)
	damaged := h.revision() - 2 // and what comes after it
	corrupt(t, d.registryFile, bucketEvents, revisionKey(damaged), []byte("rubbish"))
	next := h.revision() + 1
	for range 10 {
		d.registryFile.Append(h.next())
		d.flush()
	}
	d.failures.None(t)
	for _, part := range []struct{ from, to int64 }{{1, damaged - 1}, {next, h.revision()}} {
		have, _, err := listEvents(d.registryFile, logv1.EventQuery{From: part.from, To: part.to})
		if err != nil || !slices.EqualFunc(have, h.events[part.from-1:part.to], func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v: events %v, %v", part, revisions(have), err)
		}
	}
	_, _, err := listEvents(d.registryFile, logv1.EventQuery{From: damaged})
	storetest.Mention(t, err, "bucket events", "damaged")
}

func TestAwaitDurable(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, Options{})
		await := func(ctx context.Context, revision int64) (<-chan error, time.Time) {
			done := make(chan error, 1)
			go func() { done <- d.registryFile.AwaitDurable(ctx, revision) }()
			synctest.Wait()
			return done, time.Now()
		}
		d.changes(1, 3)
		three, start := await(context.Background(), 3)
		if err := <-three; err != nil || d.registryFile.DurableRevision() != 3 || time.Since(start) != 200*time.Millisecond {
			t.Errorf("%v after %v, durable revision %d", err, time.Since(start), d.registryFile.DurableRevision())
		}
		if err := d.registryFile.AwaitDurable(context.Background(), 2); err != nil {
			t.Errorf("what is durable: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d.changes(4, 5)
		if err := d.registryFile.AwaitDurable(ctx, 6); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beyond what there is: %v", err)
		}
		closed, _ := await(context.Background(), 6)
		last, _ := await(context.Background(), 7)
		d.changes(6, 6)
		d.close()
		if err := <-closed; err != nil {
			t.Errorf("written by Close: %v", err)
		}
		if err := <-last; !errors.Is(err, vfs.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, Options{Intercept: func() error { return errors.New("no space left") }})
		done := make(chan error, 1)
		go func() { done <- d.registryFile.AwaitDurable(context.Background(), 9) }()
		d.registryFile.Append(storetest.Change(9, "x"))
		storetest.Mention(t, <-done, "no space left")
		synctest.Wait() // it is reported after the waiters are woken
		d.failures.One(t, "no space left")
		storetest.Mention(t, d.registryFile.Close(), "no space left")
	})
}
