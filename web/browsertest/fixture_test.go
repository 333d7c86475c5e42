package browsertest_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
	unknown    = healthpb.HealthCheckResponse_UNKNOWN
	deleted    = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

// batch is how many services are set in one call.
const batch = 10_000

// serviceName is the name of service i of n: in groups of about a hundred, or ten groups of few.
func serviceName(i int) string {
	return fmt.Sprintf("group-%03d/service-%05d", i%997, i)
}

// fill sets n services: most are SERVING, one of fifty is not, one of a hundred is UNKNOWN.
func fill(n *node, services int) error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	admin := rollcallv1.NewAdminClient(conn)
	var changes []*rollcallv1.StatusChange
	send := func() error {
		if len(changes) == 0 {
			return nil
		}
		_, err := admin.BatchSetServingStatus(n.call(), &rollcallv1.BatchSetServingStatusRequest{Changes: changes, Reason: "first report", Actor: "fixture"})
		changes = nil
		return err
	}
	for i := range services {
		status := serving
		switch {
		case i%50 == 7:
			status = notServing
		case i%100 == 33:
			status = unknown
		}
		changes = append(changes, &rollcallv1.StatusChange{Service: serviceName(i), Status: &status})
		if len(changes) == batch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// decorate makes what the views show besides services: overrides, a rule that holds and one that does not, a lease, and a
// service with a past, "shop/cart".
func decorate(n *node) error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	admin, ctx := rollcallv1.NewAdminClient(conn), n.call()
	lease, err := admin.GrantLease(ctx, &rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(time.Hour), Actor: "cart-1", Reason: "instance started"})
	if err != nil {
		return err
	}
	for i, status := range []healthpb.HealthCheckResponse_ServingStatus{unknown, serving, notServing, serving} {
		_, err = admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "shop/cart", Status: &status, Reason: fmt.Sprintf("change %d of the day", i+1), Actor: "deploy"})
		if err != nil {
			return err
		}
	}
	up, down := serving, notServing
	if _, err = admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "shop/pay", Status: &up, Reason: "started", Actor: "pay-1", LeaseId: lease.GetLeaseId()}); err != nil {
		return err
	}
	if _, err = admin.SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "shop-min", Pattern: "shop/*", MinServing: new(int64(1)), Reason: "somebody must sell", Actor: "ops"}); err != nil {
		return err
	}
	if _, err = admin.SetRule(ctx, &rollcallv1.SetRuleRequest{Name: "spare", Pattern: "spare/*", MinServing: new(int64(2)), Reason: "two at least", Actor: "ops"}); err != nil {
		return err
	}
	_, err = admin.SetOverride(ctx, &rollcallv1.SetOverrideRequest{Pattern: "group-000/*", Status: &down, Reason: "the rack loses its power", Actor: "ops", Forever: true})
	return err
}

// shared are the nodes that tests share which only read; one for each size, made when the first test needs it.
var shared = struct {
	sync.Mutex
	nodes  map[string]*node
	failed map[string]error // no test waits for what failed before
	dirs   []string
}{nodes: map[string]*node{}, failed: map[string]error{}}

// sharedNode has this many services, and what decorate makes. Do not write to it.
func sharedNode(t testing.TB, services int) *node {
	t.Helper()
	return oneOf(t, fmt.Sprint(services), false, services)
}

// sharedSecure has 1,000 services, TLS, and enforces access. Do not write to it.
func sharedSecure(t testing.TB) *node {
	t.Helper()
	return oneOf(t, "secure", true, 1000)
}

func oneOf(t testing.TB, key string, secure bool, services int) *node {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if n := shared.nodes[key]; n != nil {
		return n
	}
	if err := shared.failed[key]; err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	dir, err := os.MkdirTemp("", "rollcall-browsertest-node-")
	if err != nil {
		t.Fatal(err)
	}
	shared.dirs = append(shared.dirs, dir)
	nodes, err := newNodes(dir, 1, secure)
	if err != nil {
		t.Fatal(err)
	}
	n := nodes[0]
	if err := prepare(n, secure, services); err != nil {
		n.stop()
		shared.failed[key] = err
		t.Fatal(err)
	}
	shared.nodes[key] = n
	t.Logf("a node with %d services: %.1f s", services, time.Since(start).Seconds())
	return n
}

func prepare(n *node, secure bool, services int) error {
	if err := startAll([]*node{n}); err != nil {
		return err
	}
	if secure {
		if err := n.enforce(); err != nil {
			return err
		}
	}
	n.services = services
	if err := fill(n, services); err != nil || services == 1 {
		return err
	}
	n.services += 2
	return decorate(n)
}

func stopShared() {
	for _, n := range shared.nodes {
		n.stop()
	}
	for _, dir := range shared.dirs {
		os.RemoveAll(dir)
	}
}
