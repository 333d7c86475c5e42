package browsertest_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// streams are the streams that pages would have.
type streams struct{ sync.WaitGroup }

func (s *streams) wait() { s.Wait() }

// follow opens streams of all services, as so many pages do, and returns when each has all of them. They end with ctx.
func follow(t testing.TB, ctx context.Context, n *node, count int) *streams {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxConnsPerHost: 0}}
	s := &streams{}
	synced := make(chan error, count) // each stream says once whether it has all
	for range count {
		s.Add(1)
		go func() {
			defer s.Done()
			var once sync.Once
			err := readStream(ctx, client, n.url("/api/v1/services:watch?view=status"), func() { once.Do(func() { synced <- nil }) })
			once.Do(func() { synced <- err })
			if err != nil {
				t.Errorf("a stream ended: %v", err)
			}
		}()
		// A few at a time: a hundred pages do not open at one moment.
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
	}
	context.AfterFunc(ctx, client.CloseIdleConnections)
	return s
}

// readStream reads a stream until it ends. It calls all once, when everything is told.
func readStream(ctx context.Context, client *http.Client, url string, all func()) error {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Accept-Encoding", "gzip")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("%s: %s: %s", url, answer.Status, text)
	}
	body := bufio.NewReader(answer.Body)
	if answer.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = bufio.NewReader(plain)
	}
	told := false
	for {
		line, err := body.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if !told && strings.HasPrefix(line, "data:") && strings.Contains(line[max(0, len(line)-2000):], `"synced":true`) {
			told = true
			all()
		}
	}
}

// checks is one client of grpc.health.v1 that asks without a pause.
type checks struct {
	t    testing.TB
	conn *grpc.ClientConn
	n    *node
}

func newChecks(t testing.TB, n *node) *checks {
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	return &checks{t, conn, n}
}

// perSecond is how many Checks the node answers in a second to sixteen callers over one connection.
func (c *checks) perSecond(d time.Duration) float64 {
	c.t.Helper()
	client := healthpb.NewHealthClient(c.conn)
	var done atomic.Int64
	var group sync.WaitGroup
	start := time.Now()
	for range 16 {
		group.Go(func() {
			for time.Since(start) < d {
				if _, err := client.Check(c.n.call(), &healthpb.HealthCheckRequest{Service: serviceName(1)}); err != nil {
					c.t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}
