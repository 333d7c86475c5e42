package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// watchers is a process that holds watch streams of one service open, with stock clients. It is not the
// server's process, so that the server's memory is the server's alone, nor that of the callers of Check.
type watchers struct{ process *child }

// openWatchers returns when every stream has received its first status.
func openWatchers(s *session, address, service string, connections, streams int) (*watchers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := s.children.start(filepath.Join(s.root, "watchers.log"), true, self, "watch",
		"-address", address, "-service", service, "-connections", strconv.Itoa(connections), "-streams", strconv.Itoa(streams))
	if err != nil {
		return nil, err
	}
	w := &watchers{p}
	if _, err := w.all(); err != nil {
		p.kill()
		return nil, err
	}
	return w, nil
}

// all waits until every stream has received one status more, and returns when the last one did.
func (w *watchers) all() (time.Duration, error) {
	answer, err := w.process.tell("all")
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(answer, 10, 64)
	return time.Duration(ns), err
}

func (w *watchers) close() { w.process.kill() }

// clock is the system's monotonic one, which processes share.
func clock() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// watchRole is what the process does. It counts the statuses that arrive and does not compare them: the next
// status is only set when every stream has received the one before.
func watchRole(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("watch", flag.ContinueOnError)
	address := f.String("address", "", "of the server")
	service := f.String("service", "", "to watch")
	connections := f.Int("connections", 1, "to open")
	streams := f.Int("streams", 1, "to open, over all connections")
	if err := f.Parse(args); err != nil {
		return err
	}
	var received atomic.Int64
	all := make(chan time.Duration, 1) // nobody sends again before it is taken
	failed := make(chan error, 1)      // the first is enough
	got := func() {
		if received.Add(1)%int64(*streams) != 0 {
			return
		}
		if now, err := clock(); err == nil {
			all <- now
		}
	}
	// So many at a time. On a busy machine, if all connect at once, handshakes take longer than they may.
	opening := make(chan struct{}, 64)
	watch := func(conn *grpc.ClientConn) {
		opening <- struct{}{}
		opened := sync.OnceFunc(func() { <-opening })
		defer opened()
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: *service}, grpc.WaitForReady(true))
		for err == nil {
			if _, err = stream.Recv(); err == nil {
				opened()
				got()
			}
		}
		select {
		case failed <- err:
		default:
		}
	}
	conns := make([]*grpc.ClientConn, *connections)
	for i := range conns {
		conn, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	for i := range *streams {
		go watch(conns[i%len(conns)])
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		select {
		case at := <-all:
			fmt.Println("ok", int64(at))
		case err := <-failed:
			fmt.Println("a watch ended:", err)
		case <-time.After(patience):
			fmt.Printf("after %s, %d of %d statuses are there\n", patience, received.Load()%int64(*streams), *streams)
		}
	}
	return nil
}
