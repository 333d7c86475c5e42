package devcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
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
		Node: Node{Name: "n1"},
		Command: func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), stubbornChild+"=1")
			return cmd
		},
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
