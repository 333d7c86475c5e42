package raftlog

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/watchdog"
)

// An append that takes long is no failure of the disk; one that does not end is.
func TestLogFailsWithoutProgress(t *testing.T) {
	path := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var delay time.Duration
		failures := make(chan error, 10)
		d := openDirectory(t, path)
		l, err := d.open(Options{
			Intercept: func([]*raft.Log) error { time.Sleep(delay); return nil },
			OnFailure: func(err error) { failures <- err },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		entry := storetest.Entries(t, 1, 1)[0]
		delay = watchdog.NoProgress - time.Second
		writing := make(chan error, 1)
		go func() { writing <- l.StoreLog(entry) }()
		time.Sleep(10 * time.Second)
		if got := l.WritingFor(); got < 9*time.Second || got > 11*time.Second {
			t.Errorf("writing for %s", got)
		}
		if err := <-writing; err != nil || l.WritingFor() != 0 {
			t.Errorf("a slow append: %v; writing for %s", err, l.WritingFor())
		}
		delay = time.Hour
		begin := time.Now()
		go func() { writing <- l.StoreLog(storetest.Entries(t, 2, 2)[0]) }()
		if err := <-failures; !strings.Contains(err.Error(), "no progress for 30s") || time.Since(begin) < watchdog.NoProgress {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		<-writing
		if err := l.StoreLog(storetest.Entries(t, 3, 3)[0]); err == nil {
			t.Error("a log that has failed takes an entry")
		}
	})
}
