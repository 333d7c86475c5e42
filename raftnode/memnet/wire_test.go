package memnet

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A throttled link carries its rate, shared by its connections; others are not slowed.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		m.Throttle(1<<20, "a", "b")
		took := func(from, to string, connections int) time.Duration {
			t.Helper()
			begin := time.Now()
			done := make(chan error, connections)
			for range connections {
				near, far := connect(t, m, from, to)
				go func() {
					_, err := near.Write(make([]byte, 2<<20))
					near.Close()
					done <- err
				}()
				go func() {
					n, err := io.Copy(io.Discard, far)
					if far.Close(); n != 2<<20 {
						t.Errorf("%d bytes arrived", n)
					}
					done <- err
				}()
			}
			for range 2 * connections {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			return time.Since(begin)
		}
		if got := took("a", "b", 1); got != 2*time.Second {
			t.Errorf("2 MiB at 1 MiB/s took %s", got)
		}
		if got := took("b", "a", 3); got != 6*time.Second {
			t.Errorf("three times 2 MiB at 1 MiB/s took %s", got)
		}
		if got := took("a", "c", 1); got != 0 {
			t.Errorf("a link that is not throttled took %s", got)
		}
		m.Throttle(0, "a", "b")
		if got := took("a", "b", 1); got != 0 {
			t.Errorf("a link that is not throttled any more took %s", got)
		}
	})
}
