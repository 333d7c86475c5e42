package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rollcallhq/rollcall/bench/report"
)

// countSyncs counts the syncs of each node of a cluster while writers write through the leader. It is a run
// of its own, because strace slows the process that it traces.
func countSyncs(ctx context.Context, s *session, r *report.Scenario, c cluster) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		r.Note("%s: syncs were not counted, there is no strace.", c.who())
		return nil
	}
	for _, writers := range []int{1, 64} {
		s.progress("counting syncs, %d writers, %s", writers, c.who())
		var tracers []*child
		var outs []string
		for _, m := range c.members() {
			out := filepath.Join(s.root, fmt.Sprintf("syncs-%s-%s", c.who(), m.name))
			p, err := s.children.start(out+".log", false, strace, "-f", "-c", "-e", "trace=fsync,fdatasync,msync", "-o", out, "-p", strconv.Itoa(m.process.pid()))
			if err != nil {
				return err
			}
			tracers, outs = append(tracers, p), append(outs, out)
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil { // until they are attached
			return err
		}
		l, err := write(ctx, s, c, viaLeader, writers)
		for _, p := range tracers {
			p.signal(syscall.SIGINT)
		}
		for _, p := range tracers {
			select {
			case <-p.exited:
			case <-time.After(10 * time.Second):
			}
			p.kill()
		}
		if err != nil {
			return fmt.Errorf("counting syncs of %s: %w", c.who(), err)
		}
		for i, out := range outs {
			data, err := os.ReadFile(out)
			if err != nil {
				r.Note("%s: syncs were not counted: %v", c.who(), tracers[i].why(err))
				return nil
			}
			r.Row(writersThrough(writers, viaLeader)+", with strace", "syncs/write, each node", nil, rollcallName, etcdName, natsName).
				Add(c.who(), syncCalls(data)/float64(l.calls))
		}
	}
	return nil
}

// syncCalls adds up the calls in strace's summary: lines of share, seconds, µs a call, calls, perhaps
// errors, name.
func syncCalls(summary []byte) float64 {
	var calls float64
	for lines := bufio.NewScanner(bytes.NewReader(summary)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 5 || !strings.HasSuffix(f[len(f)-1], "sync") {
			continue
		}
		if n, err := strconv.ParseFloat(f[3], 64); err == nil {
			calls += n
		}
	}
	return calls
}
