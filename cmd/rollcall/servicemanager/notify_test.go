package servicemanager

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is one that a test makes stuck.
type process struct{ stuck atomic.Bool }

func (p *process) Role() string { return "leads" }

func (p *process) Alive(ctx context.Context) error {
	if !p.stuck.Load() {
		return nil
	}
	<-ctx.Done()
	return errors.New("stuck")
}

// manager is a service manager's socket. It gives what it was told, a line each.
func manager(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	lines := make(chan string, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(buf[:n])) {
				lines <- strings.TrimSpace(line)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return lines
}

func want(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	if got := <-lines; got != want {
		t.Fatalf("told %q, want %q", got, want)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestTellsThatItServesAndStops(t *testing.T) {
	lines := manager(t)
	n := Start(&process{}, discard())
	want(t, lines, "READY=1")
	want(t, lines, "STATUS=leads")
	n.Stop()
	want(t, lines, "STOPPING=1")
	select {
	case line := <-lines:
		t.Errorf("told %q after the end", line)
	default:
	}
}

func TestFeedsTheWatchdogWhileTheProcessIsAlive(t *testing.T) {
	lines := manager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var p process
	n := Start(&p, discard())
	fed := 0
	for line := range lines {
		if line == "WATCHDOG=1" {
			if fed++; fed == 5 {
				break
			}
		}
	}
	p.stuck.Store(true)
	n.Stop()
	for line := range lines {
		if line == "STOPPING=1" {
			break
		}
	}
}

// blocked is stuck from its second question on.
type blocked struct {
	asked  atomic.Int64
	logged chan struct{}
}

func (b *blocked) Role() string { return "" }

func (b *blocked) Alive(ctx context.Context) error {
	if b.asked.Add(1) == 1 {
		return nil
	}
	<-ctx.Done()
	return errors.New("stuck")
}

func (b *blocked) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "start it anew") && b.asked.Load() == 3 {
		close(b.logged)
	}
	return len(p), nil
}

func TestAStuckProcessIsNotFed(t *testing.T) {
	lines := manager(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	b := &blocked{logged: make(chan struct{})}
	n := Start(b, slog.New(slog.NewTextHandler(b, nil)))
	<-b.logged // it was asked three times
	n.Stop()
	fed := 0
	for line := range lines {
		if line == "WATCHDOG=1" {
			fed++
		}
		if line == "STOPPING=1" {
			break
		}
	}
	if fed != 1 {
		t.Errorf("fed %d times, want once", fed)
	}
}

func TestTellsOfAReload(t *testing.T) {
	lines := manager(t)
	n := Start(&process{}, discard())
	want(t, lines, "READY=1")
	want(t, lines, "STATUS=leads")
	n.Reloading()
	n.Reloaded()
	want(t, lines, "RELOADING=1")
	if line := <-lines; !strings.HasPrefix(line, "MONOTONIC_USEC=") || len(line) == len("MONOTONIC_USEC=") {
		t.Fatalf("told %q", line)
	}
	want(t, lines, "READY=1")
	want(t, lines, "STATUS=leads")
	n.Stop()
	want(t, lines, "STOPPING=1")
	n.Reloading()
	n.Reloaded()
	next := Start(&process{}, discard()) // what is told next is told by this one
	next.Stop()
	want(t, lines, "READY=1")
	want(t, lines, "STATUS=leads")
	want(t, lines, "STOPPING=1")
}

func TestWithoutAServiceManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if n := Start(&process{}, discard()); n != nil {
		t.Error("a Notifier without a service manager")
	} else {
		n.Reloading()
		n.Reloaded()
		n.Stop()
	}
	// A socket that is gone, and variables that are wrong, harm nothing.
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	t.Setenv("WATCHDOG_USEC", "soon")
	var log strings.Builder
	Start(&process{}, slog.New(slog.NewTextHandler(io.Writer(&log), nil))).Stop()
	if !strings.Contains(log.String(), "is not a number") || !strings.Contains(log.String(), "cannot be told") {
		t.Error(log.String())
	}
	// The watchdog of another process is none of ours.
	lines := manager(t)
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", "1")
	n := Start(&process{}, discard())
	n.Stop()
	for line := range lines {
		if line == "WATCHDOG=1" {
			t.Error("fed")
		}
		if line == "STOPPING=1" {
			break
		}
	}
}
