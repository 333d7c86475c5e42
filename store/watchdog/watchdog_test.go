package watchdog

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		fail := func(err error) { failed <- err }
		end := Watch("x.db", Limit(0), fail)
		time.Sleep(NoProgress - time.Millisecond)
		end()
		time.Sleep(time.Hour)
		begin := time.Now()
		Watch("x.db", Limit(10<<20), fail)
		if err := <-failed; !strings.Contains(err.Error(), "x.db: the disk has made no progress for 1m10s") || time.Since(begin) != 70*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}
