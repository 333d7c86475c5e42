package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// reporterEnv makes the test binary a reporter: a process that keeps a lease with the Go client, reports services as
// SERVING, and tells every renewal on its standard output. Its value is the TTL, the endpoints, and the services.
const reporterEnv = "ROLLCALL_TEST_REPORTER"

// reporterMain is the process of a reporter. It ends when it is killed, or in order by SIGTERM.
func reporterMain(spec string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := report(ctx, strings.Fields(spec)); err != nil {
		fmt.Fprintln(os.Stderr, "reporter:", err)
		return 1
	}
	return 0
}

func report(ctx context.Context, spec []string) error {
	ttl, err := time.ParseDuration(spec[0])
	if err != nil {
		return err
	}
	record := newLeaseRecord()
	record.sink = os.Stdout
	cfg := client.DefaultConfig()
	cfg.Endpoints = strings.Split(spec[1], ",")
	cfg.DialOptions = record.ofCalls()
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	lease, err := cl.KeepLease(client.LeaseOptions{TTL: ttl}, client.KeepOptions{Reason: "it runs", OnEvent: func(e client.LeaseEvent) {
		fmt.Fprintf(os.Stderr, "%s %v %s %s %v\n", time.Now().Format("15:04:05.000"), e.Type, e.LeaseID, e.Service, e.Err)
	}})
	if err != nil {
		return err
	}
	var all []client.Report
	for _, service := range spec[2:] {
		all = append(all, client.Report{Service: service, Status: serving, Reason: "it runs"})
	}
	if err := lease.ReportBatch(ctx, all); err != nil {
		return err
	}
	fmt.Println("reported", lease.ID(), 0)
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return lease.Close(last)
}

// reporter is such a process.
type reporter struct {
	t        *testing.T
	cmd      *exec.Cmd
	record   *leaseRecord
	services []string
	lease    string // when it had reported for the first time
	log      syncBuffer
	heard    sync.WaitGroup // until its output ends
}

// startReporter returns when everything is reported.
func startReporter(t *testing.T, record *leaseRecord, ttl time.Duration, endpoints []string, services ...string) *reporter {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &reporter{t: t, cmd: exec.Command(self), record: record, services: services}
	r.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", reporterEnv, ttl, strings.Join(endpoints, ","), strings.Join(services, " ")))
	r.cmd.Stderr = &r.log
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("--- log of the reporter of %v\n%s", services, tail(r.log.String(), 4000))
		}
	})
	reported := make(chan string, 1) // the lease
	r.heard.Go(func() { r.hear(out, reported) })
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case r.lease = <-reported:
	case <-deadline.C:
		t.Fatalf("waited %s for the reporter of %v; its log:\n%s", patience, services, r.log.String())
	}
	if r.lease == "" {
		t.Fatalf("the reporter of %v has ended; its log:\n%s", services, r.log.String())
	}
	return r
}

func (r *reporter) hear(out io.Reader, reported chan<- string) {
	defer close(reported)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if lease, ok := strings.CutPrefix(line, "reported "); ok {
			reported <- strings.Fields(lease)[0]
			continue
		}
		if err := r.record.hear(line); err != nil {
			r.t.Errorf("the reporter of %v: %v", r.services, err)
		}
	}
}

// kill is SIGKILL. It returns when everything is known that the process told.
func (r *reporter) kill() { r.end(syscall.SIGKILL) }

// stop is SIGTERM.
func (r *reporter) stop() { r.end(syscall.SIGTERM) }

func (r *reporter) end(s syscall.Signal) {
	if r.cmd == nil {
		return
	}
	r.cmd.Process.Signal(s)
	r.heard.Wait()
	r.cmd.Wait()
	r.cmd = nil
}
