package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// children are the processes of a session. They end with it, however it ends.
type children struct {
	spawn chan func() // to a thread that lives as long as this process: a child dies with the thread that made it
	mu    sync.Mutex  // guards all
	all   map[*child]bool
}

func newChildren() *children {
	c := &children{spawn: make(chan func()), all: map[*child]bool{}}
	go func() {
		runtime.LockOSThread()
		for f := range c.spawn {
			f()
		}
	}()
	return c
}

func (c *children) killAll() {
	c.mu.Lock()
	var all []*child
	for p := range c.all {
		all = append(all, p)
	}
	c.mu.Unlock()
	for _, p := range all {
		p.signal(syscall.SIGKILL)
	}
	for _, p := range all {
		p.kill()
	}
}

func (c *children) close() { c.killAll() }

// child is a process in a group of its own, whose standard error goes to a file.
type child struct {
	owner  *children
	cmd    *exec.Cmd
	log    string
	stdin  io.WriteCloser
	stdout *bufio.Reader // nil if it goes to the log
	exited chan struct{}
}

// start runs a command. With talk, tell uses its standard input and output.
func (c *children) start(log string, talk bool, binary string, args ...string) (*child, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &child{owner: c, cmd: exec.Command(binary, args...), log: log, exited: make(chan struct{})}
	p.cmd.SysProcAttr = childAttributes()
	p.cmd.Stderr = file
	if talk {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.stdout = bufio.NewReader(out)
	} else {
		p.cmd.Stdout = file
	}
	started := make(chan error)
	c.spawn <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.all[p] = true
	c.mu.Unlock()
	go func() {
		_, _ = p.cmd.Process.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// signal sends a signal to the whole group.
func (p *child) signal(sig syscall.Signal) {
	select {
	case <-p.exited: // its id may be another's by now
	default:
		_ = syscall.Kill(-p.pid(), sig)
	}
}

// kill ends the process and waits for that.
func (p *child) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.owner.mu.Lock()
	delete(p.owner.all, p)
	p.owner.mu.Unlock()
	if p.stdin != nil {
		p.stdin.Close()
	}
}

// tell sends a line and returns the line that answers it, which must begin with "ok".
func (p *child) tell(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(p.stdin, format+"\n", args...); err != nil {
		return "", p.why(err)
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return "", p.why(err)
	}
	answer, ok := strings.CutPrefix(strings.TrimSpace(line), "ok")
	if !ok {
		return "", fmt.Errorf("%s answered %q to %q", filepath.Base(p.cmd.Path), strings.TrimSpace(line), fmt.Sprintf(format, args...))
	}
	return strings.TrimSpace(answer), nil
}

// why returns err with the end of the process's log.
func (p *child) why(err error) error {
	data, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return err
	}
	const most = 2000
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return fmt.Errorf("%s: %w; its log ends:\n%s", filepath.Base(p.cmd.Path), err, data)
}

// until calls try every few milliseconds, until try returns nil, the process ends, or patience is over.
func (p *child) until(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.why(fmt.Errorf("it ended before it was %s", what))
		case <-ctx.Done():
			return p.why(fmt.Errorf("not %s after %s: %w", what, patience, err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// patience bounds every wait for a server. Only one that hangs reaches it.
const patience = 2 * time.Minute

// freePorts finds ports below the range that the system gives to outgoing connections, so that no client
// takes one before its server listens.
func freePorts(n int) ([]string, error) {
	var addresses []string
	for range 1000 {
		if len(addresses) == n {
			return addresses, nil
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close() // after all are found, so that none is found twice
		addresses = append(addresses, l.Addr().String())
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}
