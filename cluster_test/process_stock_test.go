package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// reached are the nodes that n Checks through conn come to. A Check that fails is in the error.
func reached(ctx context.Context, conn *grpc.ClientConn, n int) (map[string]bool, error) {
	nodes := map[string]bool{}
	for range n {
		var p peer.Peer
		if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: rollcallv1.OwnLive}, grpc.Peer(&p)); err != nil {
			return nodes, err
		}
		nodes[p.Addr.String()] = true
	}
	return nodes, nil
}

// reaches waits until conn balances over exactly these nodes, or over none.
func reaches(t *testing.T, conn *grpc.ClientConn, what string, want ...*process) {
	t.Helper()
	eventually(t, what, func(ctx context.Context) bool {
		nodes, err := reached(ctx, conn, 9)
		if len(want) == 0 {
			return status.Code(err) == codes.Unavailable
		}
		if err != nil || len(nodes) != len(want) {
			return false
		}
		for _, p := range want {
			if !nodes[p.api] {
				return false
			}
		}
		return true
	})
}

// TestProcessStockGRPCGo balances with grpc-go's own health checking on each of the node's own names,
// with a quorum and without.
func TestProcessStockGRPCGo(t *testing.T) {
	c := startProcesses(t, processOptions{args: []string{"--ready-max-staleness", "1s"}})
	live := c.balanced(bareConfig, rollcallv1.OwnLive)
	reads := c.balanced(bareConfig, rollcallv1.OwnReads)
	ready := c.balanced(bareConfig, rollcallv1.OwnReady)
	writes := c.balanced(bareConfig, rollcallv1.OwnLeader)
	missing := c.balanced(bareConfig, "no/such/service")
	all := c.nodes
	reaches(t, live, "rollcall.live everywhere", all...)
	reaches(t, reads, "rollcall.reads everywhere", all...)
	reaches(t, ready, `"" everywhere`, all...)
	reaches(t, writes, "rollcall.leader at the leader", c.leader())
	reaches(t, missing, "a service that does not exist, nowhere")

	// A replicated service can be balanced on too: it is the same on every node.
	c.set("no/such/service", serving)
	reaches(t, missing, "a service that exists now, everywhere", all...)

	// One node goes in order: nobody balances on it any more, and the leader's followers follow.
	gone := c.leader()
	gone.stop()
	left := c.others(gone)
	reaches(t, live, "rollcall.live on two", left...)
	reaches(t, reads, "rollcall.reads on two", left...)
	reaches(t, ready, `"" on two`, left...)
	reaches(t, writes, "rollcall.leader at the next leader", c.leader())

	// Without a quorum reads go on where they are asked for; what needs a leader is nowhere.
	left[0].kill()
	reaches(t, reads, "rollcall.reads on one", left[1])
	reaches(t, live, "rollcall.live on one", left[1])
	reaches(t, writes, "rollcall.leader nowhere")
	reaches(t, ready, `"" nowhere`)

	left[0].start()
	gone.start()
	reaches(t, reads, "rollcall.reads everywhere again", all...)
	reaches(t, ready, `"" everywhere again`, all...)
	reaches(t, writes, "rollcall.leader at a leader again", c.leader())
}

// TestProcessStockProbes asks as grpc_health_probe and as Kubernetes do.
func TestProcessStockProbes(t *testing.T) {
	c := startProcesses(t, processOptions{args: []string{"--ready-max-staleness", "1s"}})
	c.set("payments", serving)
	c.set("orders", notServing)
	n1 := c.nodes[0]
	n1.waitStatus("orders", notServing)

	// Busy machines are slow: the probes' own second counts only where they shall fail.
	expect := func(service string, kube bool, code int) {
		t.Helper()
		eventually(t, "the probes of "+service, func(ctx context.Context) bool {
			return kubeProbe(ctx, n1.api, service) == kube && healthProbe(ctx, n1.api, service) == code
		})
	}
	expect("", true, 0)
	expect(rollcallv1.OwnLive, true, 0)
	expect(rollcallv1.OwnReads, true, 0)
	expect("payments", true, 0)
	expect("orders", false, 4)
	expect("nobody", false, 3)

	// Without a quorum a pod stays alive and, if its readiness is rollcall.reads, ready.
	for _, p := range c.others(n1) {
		p.kill()
	}
	expect("", false, 4)
	expect(rollcallv1.OwnLive, true, 0)
	expect(rollcallv1.OwnReads, true, 0)
	expect("payments", true, 0)
	n1.kill()
	expect(rollcallv1.OwnLive, false, 2)
}

// kubeProbe does what Kubernetes' prober does (pkg/probe/grpc): one connection of its own, its name as
// the user agent, no proxy, a blocking dial, one Check, all within timeoutSeconds, 1 by default.
func kubeProbe(ctx context.Context, address, service string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := blockingDial(ctx, address, grpc.WithUserAgent("kube-probe/1.33"), grpc.WithNoProxy())
	if err != nil {
		return false
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	return err == nil && resp.GetStatus() == serving
}

func blockingDial(ctx context.Context, address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	//lint:ignore SA1019 both probes dial so
	options = append(options, grpc.WithBlock())
	//lint:ignore SA1019 both probes dial so
	return grpc.DialContext(ctx, address, options...)
}

// healthProbe does what grpc_health_probe does, and returns its exit status: a blocking dial within
// -connect-timeout, then a Check within -rpc-timeout, 1 s each.
func healthProbe(ctx context.Context, address, service string) int {
	dialing, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := blockingDial(dialing, address, grpc.WithUserAgent("grpc_health_probe"))
	if err != nil {
		return 2
	}
	defer conn.Close()
	calling, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := healthpb.NewHealthClient(conn).Check(calling, &healthpb.HealthCheckRequest{Service: service})
	switch {
	case err != nil:
		return 3
	case resp.GetStatus() != serving:
		return 4
	}
	return 0
}

// TestProcessStockGrpcurl needs grpcurl on the PATH. It knows the API by reflection alone.
func TestProcessStockGrpcurl(t *testing.T) {
	needProcesses(t)
	grpcurl, err := exec.LookPath("grpcurl")
	if err != nil {
		t.Skip("grpcurl is not on the PATH")
	}
	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, tc := range []struct {
		method, data, want string
	}{
		{"grpc.health.v1.Health/Check", `{"service": "payments"}`, `"status": "SERVING"`},
		{"grpc.health.v1.Health/Check", `{"service": "nobody"}`, "NotFound"},
		{"grpc.health.v1.Health/List", `{}`, `"payments"`},
		{"rollcall.v1.Admin/SetServingStatus", `{"service": "payments", "status": "NOT_SERVING", "reason": "by hand"}`, `"changed": true`},
		{"rollcall.v1.Registry/GetService", `{"service": "payments"}`, "by hand"},
		{"rollcall.v1.Admin/SetServingStatus", `{"service": "payments"}`, "InvalidArgument"},
	} {
		out, _ := exec.CommandContext(ctx, grpcurl, "-plaintext", "-d", tc.data, c.nodes[0].api, tc.method).CombinedOutput()
		if !strings.Contains(string(out), tc.want) {
			t.Errorf("grpcurl %s %s: want %s in\n%s", tc.method, tc.data, tc.want, out)
		}
	}
	// A watch, until grpcurl's own deadline ends it.
	out, _ := exec.CommandContext(ctx, grpcurl, "-plaintext", "-max-time", "2", "-d", `{"service": "nobody"}`, c.nodes[0].api, "grpc.health.v1.Health/Watch").CombinedOutput()
	if !strings.Contains(string(out), "SERVICE_UNKNOWN") || !strings.Contains(string(out), "DeadlineExceeded") {
		t.Errorf("grpcurl Watch: %s", out)
	}
	if out, err := exec.CommandContext(ctx, grpcurl, "-plaintext", c.nodes[0].api, "list").CombinedOutput(); err != nil || !strings.Contains(string(out), "rollcall.v1.Admin") {
		t.Errorf("grpcurl list: %v %s", err, out)
	}
}

// TestProcessStockJavaScript runs grpc-js against a node: make stock-clients. It installs from npm, so
// it runs only where ROLLCALL_NPM says so.
func TestProcessStockJavaScript(t *testing.T) {
	needProcesses(t)
	if os.Getenv("ROLLCALL_NPM") == "" {
		t.Skip("ROLLCALL_NPM is not set; make stock-clients sets it")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "grpc-js"))); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"rollcall/v1/rollcall.proto", "grpc/health/v1/health.proto", "google/rpc/status.proto"} {
		to := filepath.Join(dir, "api", proto)
		b, err := os.ReadFile(filepath.Join("..", "api", proto))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	c := startProcesses(t, processOptions{})
	c.set("payments", serving)
	c.set("orders", notServing)
	for _, p := range c.nodes {
		p.waitStatus("orders", notServing)
		out := run("node", "health.js", p.api, "from-grpc-js-1") // a request id: the second and third write are the first
		for _, want := range []string{
			"check payments SERVING", "check orders NOT_SERVING", "check nobody NOT_FOUND", "check rollcall.reads SERVING",
			"watch nobody SERVICE_UNKNOWN", "watch payments SERVING", "list payments SERVING",
			"set from/node", "watch from/node NOT_SERVING", "set without a status INVALID_ARGUMENT",
			"balanced on rollcall.reads SERVING",
		} {
			if !strings.Contains(out, want+"\n") {
				t.Errorf("%s: no %q in\n%s", p.name, want, out)
			}
		}
	}
}

// TestProcessStockPython runs grpcio against a node where Debian's python3-grpcio is.
func TestProcessStockPython(t *testing.T) {
	needProcesses(t)
	python := ""
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(candidate, "-c", "import grpc").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		t.Skip("no python3 here has grpcio")
	}
	c := startProcesses(t, processOptions{nodes: 1})
	c.set("payments", serving)
	c.set("orders", notServing)
	c.nodes[0].waitStatus("orders", notServing)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, filepath.Join("testdata", "python", "health.py"), c.nodes[0].api).CombinedOutput()
	want := "check payments SERVING\ncheck orders NOT_SERVING\ncheck nobody NOT_FOUND\ncheck rollcall.reads SERVING\n" +
		"watch nobody SERVICE_UNKNOWN\nwatch payments SERVING\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}
