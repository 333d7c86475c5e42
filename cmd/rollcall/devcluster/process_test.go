package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// stubbornChild makes this test binary a process that ignores SIGTERM.
const stubbornChild = "ROLLCALL_TEST_STUBBORN_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(stubbornChild) != "" {
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "up")
		<-time.After(time.Minute) // in case its parent fails to kill it
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestProcessKillsANodeThatDoesNotEnd(t *testing.T) {
	up := make(chan struct{})
	var events []Event
	p := &Process{
		Node:        Node{Name: "n1"},
		Command:     stubborn,
		Logs:        &signalWriter{c: up},
		StopTimeout: 10 * time.Millisecond,
		Notify:      func(e Event) { events = append(events, e) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Supervise(ctx)
	}()
	<-up
	cancel()
	<-done
	if len(events) != 2 || events[1].Reason != "killed, as it had not ended after 10ms" {
		t.Errorf("%+v", events)
	}
}

// signalWriter closes c at the first write.
type signalWriter struct {
	once sync.Once
	c    chan struct{}
}

func (s *signalWriter) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.c) })
	return len(p), nil
}

// TestProcessPIDFile reads the file while the node runs, and looks for it after the end.
func TestProcessPIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n1.pid")
	started, ended := make(chan Event, 1), make(chan Event, 1) // room for the one event of each
	p := &Process{
		Node:    Node{Name: "n1"},
		Command: stubborn,
		Logs:    io.Discard,
		PIDFile: file,
		Notify: func(e Event) {
			if e.Event == "started" {
				started <- e
			} else {
				ended <- e
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Supervise(t.Context())
	}()
	e := <-started
	b, err := os.ReadFile(file)
	if want := fmt.Sprintf("%d\n", e.PID); err != nil || string(b) != want {
		t.Errorf("%q, %v, want %q", b, err, want)
	}
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	<-done // it is not started again
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a node that ended: %v", err)
	}
}

// stubborn returns a command that makes this test binary a stubborn child.
func stubborn() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stubbornChild+"=1")
	return cmd
}
