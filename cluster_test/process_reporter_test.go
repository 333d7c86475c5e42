package cluster_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// TestProcessReporterCommand: "set --keep-alive" reports for as long as it runs, also while a node is killed, and its
// last word is one change. Supervisors may signal twice.
func TestProcessReporterCommand(t *testing.T) {
	beside(t, ofProcesses)
	c := startProcesses(t, processOptions{})
	cl := c.client()
	cmd := exec.Command(binary, "set", "shop/cart", "up", "--ttl", "3s", "--keep-alive", "--on-stop", "withdraw", "-e", strings.Join(c.endpoints(), ","))
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()
	eventually(t, "a report", func(ctx context.Context) bool {
		r, err := cl.Get(ctx, "shop/cart")
		return err == nil && r.GetService().GetReport().GetLeaseId() != ""
	})
	c.leader().kill()
	<-time.After(4 * time.Second)
	if r, err := cl.Get(t.Context(), "shop/cart"); err != nil || r.GetService().GetStatus() != serving || r.GetService().GetReport().GetLeaseId() == "" {
		t.Errorf("a ttl after the leader died: %v, %v", r, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	<-time.After(10 * time.Millisecond)
	cmd.Process.Signal(syscall.SIGINT)
	select {
	case err := <-ended:
		if err != nil || strings.Count(out.String(), "has the report of shop/cart SERVING\n") != 1 || !strings.HasSuffix(out.String(), " revoked: its services are deleted\n") {
			t.Errorf("%v: %s", err, out)
		}
	case <-time.After(patience):
		t.Fatalf("it does not end: %s", out)
	}
	_, err := cl.Get(client.WithReadOptions(t.Context(), client.ReadOptions{Consistency: client.Linearizable}), "shop/cart")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.NotFound {
		t.Errorf("after it has ended: %v", err)
	}
}
