package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// devChild keeps one node of a dev cluster running, as a process of its own.
type devChild struct {
	devNode
	command  func() *exec.Cmd // a new one each time
	logs     io.Writer        // safe for use by several goroutines
	restart  time.Duration    // pause before it is started again; 0: it is not
	patience time.Duration    // how long an orderly end may take
	notify   func(devEvent)

	mu  sync.Mutex // guards pid
	pid int        // 0 while it does not run
}

// devNode is a member of a dev cluster.
type devNode struct {
	Name        string `json:"name"`
	PID         int    `json:"pid"`
	APIAddress  string `json:"api_address"`
	PeerAddress string `json:"peer_address"`
	HTTPAddress string `json:"http_address"`
}

// devEvent is something that happened to a node of a dev cluster.
type devEvent struct {
	Event  string `json:"event"` // started, ended
	Node   string `json:"node"`
	PID    int    `json:"pid,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (c *devChild) setPID(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

func (c *devChild) describe() devNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.devNode
	n.PID = c.pid
	return n
}

// supervise runs the node until ctx ends, then ends it and returns when it is gone.
func (c *devChild) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		pid, err := c.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		c.notify(devEvent{Event: "ended", Node: c.Name, PID: pid, Reason: endReason(err)})
		if c.restart == 0 {
			return
		}
		pause(ctx, c.restart)
	}
}

func endReason(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return oneLine(err.Error())
}

// runOnce starts the process and waits until it is gone; when ctx ends it is told to end, and killed
// if it takes too long.
func (c *devChild) runOnce(ctx context.Context) (pid int, err error) {
	cmd := c.command()
	logs := &linePrefixer{w: c.logs, prefix: c.Name + " | "}
	defer func() { logs.finish(err != nil) }()
	cmd.Stderr = logs
	ownGroup(cmd)
	cmd.WaitDelay = time.Second // should anything else hold its standard error
	// The system closes our end whatever ends us, SIGKILL included: with --exit-with-parent, that ends
	// the child. (Linux's Pdeathsig would be tied to the thread that started it, not to the process.)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	c.setPID(pid)
	c.notify(devEvent{Event: "started", Node: c.Name, PID: pid})
	defer c.setPID(0)

	ended := make(chan error, 1) // Wait must never be kept from returning
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return pid, err
	case <-ctx.Done():
	}
	// That its peers go away too is no news; what it says is kept for the case that it ends badly.
	logs.hold()
	terminate(cmd.Process)
	stdin.Close()
	late := time.NewTimer(c.patience)
	defer late.Stop()
	select {
	case err := <-ended:
		return pid, err
	case <-late.C:
	}
	cmd.Process.Kill()
	err = <-ended
	c.notify(devEvent{Event: "ended", Node: c.Name, PID: pid, Reason: fmt.Sprintf("killed, as it had not ended after %s", c.patience)})
	return pid, err
}
