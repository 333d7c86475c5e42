package devcluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// Process keeps one node running as a child process.
type Process struct {
	Node        Node
	Command     func() *exec.Cmd // returns a new one for each start
	Logs        io.Writer        // safe for use by several goroutines
	PIDFile     string           // holds the process id while the node runs; "": there is none
	Restart     time.Duration    // pause before it is started again; 0: it is not started again
	StopTimeout time.Duration    // how long an orderly end may take before it is killed
	Notify      func(Event)

	mu  sync.Mutex // guards pid
	pid int        // 0 while it does not run
}

// Event is something that happened to a node.
type Event struct {
	Event  string `json:"event"` // started, ended
	Node   string `json:"node"`
	PID    int    `json:"pid,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (p *Process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// writePIDFile lets "kill -9 $(cat rollcall-dev/n1.pid)" find the node. That is a convenience, so a node also
// runs where the file cannot be written.
func (p *Process) writePIDFile(pid int) {
	if p.PIDFile != "" {
		os.WriteFile(p.PIDFile, []byte(strconv.Itoa(pid)+"\n"), 0o644)
	}
}

func (p *Process) removePIDFile() {
	if p.PIDFile != "" {
		os.Remove(p.PIDFile)
	}
}

// Describe returns the node with its process id, which is 0 while it does not run.
func (p *Process) Describe() Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.Node
	n.PID = p.pid
	return n
}

// Supervise runs the node until ctx ends, then stops it and returns when it is gone.
func (p *Process) Supervise(ctx context.Context) {
	for ctx.Err() == nil {
		pid, err := p.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		p.Notify(Event{Event: "ended", Node: p.Node.Name, PID: pid, Reason: endReason(err)})
		if p.Restart == 0 {
			return
		}
		t := time.NewTimer(p.Restart)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func endReason(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return format.OneLine(err.Error())
}

// runOnce starts the process and waits until it is gone. When ctx ends, it asks the process to end, and
// kills it after StopTimeout.
func (p *Process) runOnce(ctx context.Context) (pid int, err error) {
	cmd := p.Command()
	logs := &linePrefixer{w: p.Logs, prefix: p.Node.Name + " | "}
	defer func() { logs.finish(err != nil) }()
	cmd.Stderr = logs
	ownGroup(cmd)
	cmd.WaitDelay = time.Second // in case another process holds its standard error open
	// The system closes our end of this pipe whatever ends us, SIGKILL included. That ends a child with
	// --exit-with-parent. (Linux's Pdeathsig is tied to the thread that started the child, not to us.)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	p.setPID(pid)
	p.writePIDFile(pid)
	p.Notify(Event{Event: "started", Node: p.Node.Name, PID: pid})
	defer func() {
		p.setPID(0)
		p.removePIDFile()
	}()

	ended := make(chan error, 1) // room for one, so that Wait never blocks
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return pid, err
	case <-ctx.Done():
	}
	// While all nodes stop, each logs that its peers go away. Show that only if this node ends badly.
	logs.hold()
	terminate(cmd.Process)
	stdin.Close()
	late := time.NewTimer(p.StopTimeout)
	defer late.Stop()
	select {
	case err := <-ended:
		return pid, err
	case <-late.C:
	}
	cmd.Process.Kill()
	err = <-ended
	p.Notify(Event{Event: "ended", Node: p.Node.Name, PID: pid, Reason: fmt.Sprintf("killed, as it had not ended after %s", p.StopTimeout)})
	return pid, err
}
