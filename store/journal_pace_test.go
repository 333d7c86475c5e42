package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestReadingHistoryIsPaced: beside changes ten readers, each of whose readings takes a millisecond, take
// turns with a rest after each, and none rests before its answer; when nothing changes, nobody waits.
func TestReadingHistoryIsPaced(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, JournalOptions{})
		defer d.close()
		d.changes(1, 10)
		d.flush()
		readAll := func() (took []time.Duration) {
			const readers = 10
			done := make(chan time.Duration, readers)
			for range readers {
				start := time.Now()
				go func() {
					_, err := d.journal.Events(t.Context(), logv1.EventQuery{From: 10}, func(*logv1.Event) (bool, error) {
						time.Sleep(time.Millisecond)
						return false, nil
					})
					if err != nil {
						t.Error(err)
					}
					done <- time.Since(start)
				}()
			}
			for range readers {
				took = append(took, <-done)
			}
			return took
		}
		for i, took := range readAll() {
			if want := time.Millisecond + time.Duration(i)*(1+restFactor)*time.Millisecond; took != want {
				t.Errorf("beside changes, answer %d came after %v, want %v", i, took, want)
			}
		}
		time.Sleep(busyFor)
		for i, took := range readAll() {
			if took != time.Millisecond {
				t.Errorf("without changes, answer %d came after %v", i, took)
			}
		}
	})
}

// TestPacedReadingEnds: who waits for a turn goes when its caller does.
func TestPacedReadingEnds(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, path, JournalOptions{})
		defer d.close()
		d.changes(1, 2)
		read := func(ctx context.Context) error {
			return d.journal.paced(ctx, func() error { time.Sleep(time.Second); return nil })
		}
		first := make(chan error, 1)
		go func() { first <- read(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a reading whose caller left: %v", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}
