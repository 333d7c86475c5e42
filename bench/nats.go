package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsCluster is a cluster of NATS servers with one key-value bucket of three replicas in files, synced
// before every acknowledgement.
type natsCluster struct {
	requests bool
	nodes    []*member
	urls     []string
	conns    []*nats.Conn
	buckets  []jetstream.KeyValue
}

const natsBucket = "services"

func newNATS(s *session, nodes int) (*natsCluster, error) {
	c := &natsCluster{requests: s.requests}
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range nodes {
		routes = append(routes, "nats://"+ports[2*i+1])
	}
	for i := range nodes {
		m, err := s.member("nats", i)
		if err != nil {
			return nil, err
		}
		config := filepath.Join(m.data, "nats.conf")
		err = os.WriteFile(config, fmt.Appendf(nil, `server_name: %q
listen: %q
jetstream: { store_dir: %q, sync_interval: always }
cluster: { name: bench, listen: %q, routes: [%s] }
`, m.name, ports[2*i], filepath.Join(m.data, "data"), ports[2*i+1], strings.Join(routes, ", ")), 0o644)
		if err != nil {
			return nil, err
		}
		m.args = []string{config}
		c.nodes, c.urls = append(c.nodes, m), append(c.urls, "nats://"+ports[2*i])
	}
	return c, nil
}

func (c *natsCluster) who() string        { return natsName }
func (c *natsCluster) members() []*member { return c.nodes }

func (c *natsCluster) disconnect() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns, c.buckets = nil, nil
}

// ready connects to every server and finds the bucket through it, which the first makes.
func (c *natsCluster) ready(ctx context.Context) error {
	c.disconnect()
	for i, m := range c.nodes {
		err := m.process.until(ctx, "ready", func(ctx context.Context) error {
			conn, err := nats.Connect(c.urls[i], nats.DontRandomize(), nats.NoReconnect())
			if err != nil {
				return err
			}
			bucket, err := c.bucket(ctx, conn)
			if err != nil {
				conn.Close()
				return err
			}
			c.conns, c.buckets = append(c.conns, conn), append(c.buckets, bucket)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *natsCluster) bucket(ctx context.Context, conn *nats.Conn) (jetstream.KeyValue, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	bucket, err := js.KeyValue(ctx, natsBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: natsBucket, History: 1, Storage: jetstream.FileStorage, Replicas: min(3, len(c.nodes)),
		})
	}
	return bucket, err
}

// leader is that of the bucket's stream.
func (c *natsCluster) leader(ctx context.Context) (int, error) {
	js, err := jetstream.New(c.conns[0])
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, "KV_"+natsBucket)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	for i, m := range c.nodes {
		if info.Cluster != nil && info.Cluster.Leader == m.name {
			return i, nil
		}
	}
	return 0, errors.New("the bucket's stream has no leader")
}

func (c *natsCluster) writer(member, id int) func(context.Context) error {
	bucket := c.buckets[member]
	n := 0
	return func(ctx context.Context) error {
		_, err := bucket.Put(ctx, writtenService(id, n), value(id, n, c.requests))
		n++
		return err
	}
}
