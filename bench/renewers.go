package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

const (
	// renewEvery is how often each lease is renewed.
	renewEvery = time.Second
	// renewedTTL is long enough that a machine that does everything at once loses none.
	renewedTTL = 10 * time.Second
)

// renewers is a process that renews leases with stock clients. It is not the load's, so that what it takes does not
// slow that down.
type renewers struct{ process *child }

// openRenewers returns when all leases are granted and every stream has renewed its own once.
func openRenewers(s *session, address string, connections, streams, leases int) (*renewers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := s.children.start(filepath.Join(s.root, "renewers.log"), true, self, "renew",
		"-address", address, "-connections", strconv.Itoa(connections), "-streams", strconv.Itoa(streams), "-leases", strconv.Itoa(leases))
	if err != nil {
		return nil, err
	}
	r := &renewers{p}
	if _, err := p.tell("ready"); err != nil {
		p.kill()
		return nil, err
	}
	return r, nil
}

// renewed is how many renewals were acknowledged so far. A lease that is lost is an error.
func (r *renewers) renewed() (int64, error) {
	answer, err := r.process.tell("renewed")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer, 10, 64)
}

func (r *renewers) close() { r.process.kill() }

// renewRole is what the process does.
func renewRole(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("renew", flag.ContinueOnError)
	address := f.String("address", "", "of the server")
	connections := f.Int("connections", 1, "to open")
	streams := f.Int("streams", 1, "to open, over all connections")
	leases := f.Int("leases", 1, "to grant, over all streams")
	if err := f.Parse(args); err != nil {
		return err
	}
	conns := make([]*grpc.ClientConn, *connections)
	for i := range conns {
		conn, err := dial(*address)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	ids := make([]string, *leases)
	err := inParallel(64, 0, len(ids), 10, func(first, n int) error {
		for i := first; i < first+n; i++ {
			res, err := rollcallv1.NewAdminClient(conns[i%len(conns)]).GrantLease(ctx,
				&rollcallv1.GrantLeaseRequest{Ttl: durationpb.New(renewedTTL), Actor: "bench"}, grpc.WaitForReady(true))
			if err != nil {
				return err
			}
			ids[i] = res.GetLeaseId()
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := &renewing{failed: make(chan error, 1)} // the first is enough
	each := *leases / *streams
	for i := range *streams {
		// Streams take turns within the time between two renewals.
		offset := renewEvery * time.Duration(i) / time.Duration(*streams)
		go r.run(ctx, conns[i%len(conns)], ids[i*each:(i+1)*each], offset)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		deadline := time.Now().Add(patience)
		for lines.Text() == "ready" && r.opened.Load() < int64(*streams) && time.Now().Before(deadline) && len(r.failed) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		select {
		case err := <-r.failed:
			fmt.Println("a stream of renewals ended:", err)
		default:
			fmt.Println("ok", r.renewed.Load())
		}
	}
	return nil
}

// renewing is all streams of the process.
type renewing struct {
	opened, renewed atomic.Int64
	failed          chan error
}

// run renews leases on a stream of their own.
func (r *renewing) run(ctx context.Context, conn *grpc.ClientConn, ids []string, offset time.Duration) {
	err := r.renew(ctx, conn, ids, offset)
	select {
	case r.failed <- err:
	default:
	}
}

func (r *renewing) renew(ctx context.Context, conn *grpc.ClientConn, ids []string, offset time.Duration) error {
	time.Sleep(offset)
	stream, err := rollcallv1.NewAdminClient(conn).KeepAlive(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	req := &rollcallv1.KeepAliveRequest{LeaseIds: ids}
	for first := true; ; first = false {
		if err := stream.Send(req); err != nil {
			return err
		}
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		if lost := res.GetLostLeaseIds(); len(lost) > 0 {
			return fmt.Errorf("%d of %d leases are lost", len(lost), len(ids))
		}
		r.renewed.Add(int64(len(res.GetRenewedLeaseIds())))
		if first {
			r.opened.Add(1)
		}
		<-tick.C
	}
}
