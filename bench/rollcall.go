package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/bench/workload"
)

// rollcall is a cluster of rollcall serve processes.
type rollcall struct {
	name     string // in tables
	requests bool
	nodes    []*member
	apis     []string
	conns    []*grpc.ClientConn
}

// newRollcall makes a cluster that does not run yet; args are flags of rollcall serve.
func newRollcall(s *session, nodes int, args ...string) (*rollcall, error) {
	return newRollcallOf(s, rollcallName, "rollcall", nodes, args...)
}

// newRollcallOf makes a cluster of one of the binaries. It does not run yet.
func newRollcallOf(s *session, name, binary string, nodes int, args ...string) (*rollcall, error) {
	c := &rollcall{name: name, requests: s.requests}
	ports, err := freePorts(3 * nodes)
	if err != nil {
		return nil, err
	}
	var members []string
	for i := range nodes {
		members = append(members, fmt.Sprintf("--member=n%d,api=%s,peer=%s", i+1, ports[3*i], ports[3*i+1]))
	}
	for i := range nodes {
		m, err := s.member(binary, i)
		if err != nil {
			return nil, err
		}
		m.args = append([]string{"serve", "--node", m.name, "--data", filepath.Join(m.data, "data"), "--http", ports[3*i+2], "--pprof", "--log-level", "warn"}, members...)
		m.args = append(m.args, args...)
		m.profiles = "http://" + ports[3*i+2]
		conn, err := dial(ports[3*i])
		if err != nil {
			return nil, err
		}
		c.nodes, c.conns, c.apis = append(c.nodes, m), append(c.conns, conn), append(c.apis, ports[3*i])
	}
	return c, nil
}

func (c *rollcall) who() string        { return c.name }
func (c *rollcall) members() []*member { return c.nodes }

func (c *rollcall) disconnect() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *rollcall) ready(ctx context.Context) error {
	for i, m := range c.nodes {
		err := m.process.until(ctx, "ready", func(ctx context.Context) error {
			return check(ctx, c.conns[i], rollcallv1.OwnReady)
		})
		if err != nil {
			return err
		}
	}
	_, err := c.leader(ctx)
	return err
}

// check returns nil if name is SERVING.
func check(ctx context.Context, conn *grpc.ClientConn, name string) error {
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name})
	if err != nil {
		return err
	}
	if res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%q is %s", name, res.GetStatus())
	}
	return nil
}

// leader asks the nodes who leads.
func (c *rollcall) leader(ctx context.Context) (int, error) {
	found := -1
	err := c.nodes[0].process.until(ctx, "led", func(ctx context.Context) error {
		for i, conn := range c.conns {
			if check(ctx, conn, rollcallv1.OwnLeader) == nil {
				found = i
				return nil
			}
		}
		return errors.New("no node says that it leads")
	})
	return found, err
}

// writtenServices is how many services a writer changes, one after the other.
const writtenServices = 16

func writtenService(id, n int) string {
	return fmt.Sprintf("bench-%04d/service-%02d", id, n%writtenServices)
}

// setRequest is the n-th change of a writer. Every one changes a status: Rollcall writes nothing when
// nothing changes.
func setRequest(id, n int, withID bool) *rollcallv1.SetServingStatusRequest {
	s := healthpb.HealthCheckResponse_SERVING
	if (n/writtenServices)%2 == 1 {
		s = healthpb.HealthCheckResponse_NOT_SERVING
	}
	req := &rollcallv1.SetServingStatusRequest{Service: writtenService(id, n), Status: &s, Reason: "probe answered", Actor: "bench"}
	if withID {
		req.RequestId = requestID()
	}
	return req
}

func requestID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func (c *rollcall) writer(member, id int) func(context.Context) error {
	admin := rollcallv1.NewAdminClient(c.conns[member])
	n := 0
	return func(ctx context.Context) error {
		req := setRequest(id, n, c.requests)
		n++
		_, err := admin.SetServingStatus(ctx, req)
		return err
	}
}

// reader returns a call that reads a service so that it misses no write acknowledged before.
func (c *rollcall) reader(member int, service string) func(context.Context) error {
	health := healthpb.NewHealthClient(c.conns[member])
	req := &healthpb.HealthCheckRequest{Service: service}
	return func(ctx context.Context) error {
		_, err := health.Check(metadata.AppendToOutgoingContext(ctx, "rollcall-consistency", "linearizable"), req)
		return err
	}
}

// batch makes size changes of one kind from service first on, in one call, and returns its revision.
func (c *rollcall) batch(ctx context.Context, member, first, size int, status healthpb.HealthCheckResponse_ServingStatus) (int64, error) {
	req := &rollcallv1.BatchSetServingStatusRequest{Reason: "probe answered", Actor: "bench"}
	if c.requests {
		req.RequestId = requestID()
	}
	for i := range size {
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: workload.Service(first + i), Status: &status})
	}
	res, err := rollcallv1.NewAdminClient(c.conns[member]).BatchSetServingStatus(ctx, req)
	if err == nil && int(res.GetChangedCount()) != size {
		err = fmt.Errorf("of %d changes, %d changed something", size, res.GetChangedCount())
	}
	return res.GetRevision(), err
}

// fill makes services from to to-1 SERVING, in steps that every node stores: a node whose registry file falls
// 64 MiB behind ends itself, and how fast it can be filled is not what is measured here.
func (c *rollcall) fill(ctx context.Context, from, to int) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	const step, size = 50_000, 1000
	for ; from < to; from += step {
		err = inParallel(4, from, min(from+step, to), size, func(first, n int) error {
			_, err := c.batch(ctx, leader, first, n, healthpb.HealthCheckResponse_SERVING)
			return err
		})
		if err != nil {
			return err
		}
		if err := c.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until every node shows and has stored what is acknowledged. A node writes its registry file within
// seconds, or soon if it is asked for a point in time that the file may not hold.
func (c *rollcall) settled(ctx context.Context) error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, m := range c.nodes {
		wg.Go(func() { errs[i] = c.settledNode(ctx, i, m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *rollcall) settledNode(ctx context.Context, i int, m *member) error {
	err := m.process.until(ctx, "up to date", func(ctx context.Context) error {
		return c.reader(i, rollcallv1.OwnLive)(ctx)
	})
	if err != nil {
		return err
	}
	err = m.process.until(ctx, "asked", func(ctx context.Context) error {
		now := timestamppb.Now()
		_, err := rollcallv1.NewRegistryClient(c.conns[i]).ListServices(ctx, &rollcallv1.ListServicesRequest{
			PageSize: 1, At: &rollcallv1.At{At: &rollcallv1.At_Time{Time: now}}})
		return err
	})
	if err != nil {
		return err
	}
	return m.process.until(ctx, "stored", func(ctx context.Context) error {
		backlog, err := metric(ctx, m.profiles+"/metrics", "rollcall_registry_backlog_bytes")
		if err != nil { // an earlier tree, see --before
			backlog, err = metric(ctx, m.profiles+"/metrics", "rollcall_journal_backlog_bytes")
		}
		if err == nil && backlog != 0 {
			err = fmt.Errorf("%.0f bytes are not stored", backlog)
		}
		return err
	})
}

func (c *rollcall) set(ctx context.Context, member int, service string, status healthpb.HealthCheckResponse_ServingStatus) error {
	_, err := rollcallv1.NewAdminClient(c.conns[member]).SetServingStatus(ctx,
		&rollcallv1.SetServingStatusRequest{Service: service, Status: &status, Reason: "probe answered", Actor: "bench"})
	return err
}

// value is what a service's record is as a message: what etcd and NATS store of it.
func value(id, n int, withID bool) []byte {
	req := setRequest(id, n, withID)
	req.Service = "" // is the key
	data, err := proto.Marshal(req)
	if err != nil {
		panic(err) // it always marshals
	}
	return data
}

// metric reads one without labels.
func metric(ctx context.Context, url, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", url, name)
}
