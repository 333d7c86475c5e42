package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/bench/workload"
)

// etcd is a cluster of etcd processes.
type etcd struct {
	requests bool // values have room for a request id, as Rollcall's events do
	nodes    []*member
	clients  []*clientv3.Client
}

func newEtcd(s *session, nodes int) (*etcd, error) {
	c := &etcd{requests: s.requests}
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return nil, err
	}
	var peers []string
	for i := range nodes {
		peers = append(peers, fmt.Sprintf("n%d=http://%s", i+1, ports[2*i+1]))
	}
	for i := range nodes {
		m, err := s.member("etcd", i)
		if err != nil {
			return nil, err
		}
		api, peer := "http://"+ports[2*i], "http://"+ports[2*i+1]
		m.args = []string{
			"--name", m.name, "--data-dir", filepath.Join(m.data, "data"),
			"--listen-client-urls", api, "--advertise-client-urls", api,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-token", filepath.Base(s.root),
			"--quota-backend-bytes", fmt.Sprint(8 << 30), "--log-level", "error", "--enable-pprof",
		}
		m.profiles = api
		client, err := clientv3.New(clientv3.Config{
			Endpoints: []string{ports[2*i]}, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithConnectParams(quickConnect)},
		})
		if err != nil {
			return nil, err
		}
		c.nodes, c.clients = append(c.nodes, m), append(c.clients, client)
	}
	return c, nil
}

func (c *etcd) who() string        { return etcdName }
func (c *etcd) members() []*member { return c.nodes }

func (c *etcd) disconnect() {
	for _, client := range c.clients {
		client.Close()
	}
}

func (c *etcd) ready(ctx context.Context) error {
	for i, m := range c.nodes {
		err := m.process.until(ctx, "ready", func(ctx context.Context) error {
			_, err := c.clients[i].Get(ctx, "ready") // linearizable: through the leader
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *etcd) leader(ctx context.Context) (int, error) {
	found := -1
	err := c.nodes[0].process.until(ctx, "led", func(ctx context.Context) error {
		for i, client := range c.clients {
			attempt, end := context.WithTimeout(ctx, time.Second) // its node may be dead
			res, err := client.Status(attempt, client.Endpoints()[0])
			end()
			if err == nil && res.Leader == res.Header.MemberId {
				found = i
				return nil
			}
		}
		return fmt.Errorf("no member says that it leads")
	})
	return found, err
}

func (c *etcd) writer(member, id int) func(context.Context) error {
	client := c.clients[member]
	n := 0
	return func(ctx context.Context) error {
		_, err := client.Put(ctx, writtenService(id, n), string(value(id, n, c.requests)))
		n++
		return err
	}
}

func (c *etcd) reader(member int, key string) func(context.Context) error {
	client := c.clients[member]
	return func(ctx context.Context) error {
		_, err := client.Get(ctx, key)
		return err
	}
}

// batch puts size keys in one transaction.
func (c *etcd) batch(ctx context.Context, member, first, size, n int) error {
	var puts []clientv3.Op
	for i := range size {
		puts = append(puts, clientv3.OpPut(workload.Service(first+i), string(value(first+i, n, c.requests))))
	}
	_, err := c.clients[member].Txn(ctx).Then(puts...).Commit()
	return err
}

// fill puts keys from to to-1.
func (c *etcd) fill(ctx context.Context, from, to int) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	const size = 100 // it takes at most 128 by default
	return inParallel(16, from, to, size, func(first, n int) error { return c.batch(ctx, leader, first, n, 0) })
}
