package cluster_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

var hostileStreams = flag.Int("hostile-streams", 3_000, "streams of each kind and way in TestP8HostileFollowers")

// most is the largest value of a number while something goes on.
func most(number func() int64) (stop func() int64) {
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		n := number()
		for {
			select {
			case <-tick.C:
				n = max(n, number())
			case <-done:
				result <- n
				return
			}
		}
	}()
	return func() int64 {
		close(done)
		return <-result
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// TestP8HostileFollowers has clients of each kind of stream, and of pages of history, that reset what they asked
// for, that stop reading and
// go, that come back at once, over and over, and that stop reading and stay. While they do that, writes, Checks, an
// honest watch, an honest follower and honest reads go on. The node's memory and goroutines are bounded, and when
// the hostile have gone nothing of them is left.
func TestP8HostileFollowers(t *testing.T) {
	needProcesses(t)
	const connections = 4
	const heapLimit = 400 << 20 // with the clients, and with garbage: all budgets are 768 MiB, that of answers 192
	streams := *hostileStreams
	if raceEnabled {
		streams /= 10
	}
	for name, tt := range map[string]struct {
		method  string
		request proto.Message
		watches bool // they count as watches
	}{
		"events": {rollcallv1.Registry_WatchEvents_FullMethodName, &rollcallv1.WatchEventsRequest{FromRevision: 1}, true},
		"state":  {rollcallv1.Registry_WatchServices_FullMethodName, &rollcallv1.WatchServicesRequest{}, true},
		"names":  {rollcallv1.Registry_WatchServices_FullMethodName, &rollcallv1.WatchServicesRequest{Services: filledNames(700)}, true},
		"pages":  {rollcallv1.Registry_ListEvents_FullMethodName, &rollcallv1.ListEventsRequest{PageSize: 10_000}, false},
	} {
		for way, hostile := range map[string]func(s *solo, wg *sync.WaitGroup, leave <-chan struct{}, begin func(r *raw) (uint32, error)){
			// One connection that begins and resets.
			"reset": func(s *solo, wg *sync.WaitGroup, _ <-chan struct{}, begin func(r *raw) (uint32, error)) {
				r := dialRaw(s.t, s.api)
				r.listen(wg, nil)
				wg.Go(func() {
					defer r.conn.Close()
					for range streams / connections {
						id, err := begin(r)
						if err == nil {
							err = r.reset(id)
						}
						if err != nil {
							return // the server may well hang up on it
						}
					}
				})
			},
			// Connections that ask for much, read nothing and go, each followed by the next at once.
			"reconnect": func(s *solo, wg *sync.WaitGroup, _ <-chan struct{}, begin func(r *raw) (uint32, error)) {
				const each = 30 // streams of a connection
				wg.Go(func() {
					for range streams / connections / each {
						conn, err := net.Dial("tcp", s.api)
						if err != nil {
							continue
						}
						r := newRaw(s.t, conn)
						for range each {
							if _, err := begin(r); err != nil {
								break
							}
						}
						// The node has begun to answer.
						_, _ = io.ReadFull(conn, make([]byte, 1<<10))
						conn.Close()
					}
				})
			},
			// Connections that ask for as much as they may have, read nothing and stay.
			"stay": func(s *solo, wg *sync.WaitGroup, leave <-chan struct{}, begin func(r *raw) (uint32, error)) {
				for range 2 {
					r := dialRaw(s.t, s.api)
					for range 100 {
						if _, err := begin(r); err != nil {
							break
						}
					}
					wg.Go(func() {
						<-leave
						r.conn.Close()
					})
				}
			},
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				s := newSolo(t, nil)
				s.set("payments", serving)
				s.fill(2)
				honest := s.watch("payments")
				s.next(honest, serving)
				s.flip("payments", 2, honest)
				conn, err := grpc.NewClient(s.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				registry := rollcallv1.NewRegistryClient(conn)
				before := measure()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				follow, err := registry.WatchEvents(ctx, &rollcallv1.WatchEventsRequest{FromRevision: 1})
				if err != nil {
					t.Fatal(err)
				}
				var reached atomic.Int64 // by the honest follower
				var following sync.WaitGroup
				following.Go(func() {
					for {
						m, err := follow.Recv()
						if err != nil {
							if status.Code(err) != codes.Canceled && !errors.Is(err, io.EOF) {
								t.Errorf("the honest follower ended at %d: %v", reached.Load(), err)
							}
							return
						}
						reached.Store(m.GetRevision())
					}
				})
				peak, heap := peakGoroutines(), most(heapInUse)
				var wg sync.WaitGroup
				leave := make(chan struct{})
				for range connections {
					hostile(s, &wg, leave, func(r *raw) (uint32, error) { return r.call(tt.method, tt.request) })
				}
				gone := make(chan struct{})
				go func() {
					wg.Wait()
					close(gone)
				}()
				for over, round := false, 0; !over || round < 6; round++ {
					select {
					case <-gone:
						over = true
					default:
					}
					if round == 5 {
						close(leave)
					}
					s.flip("payments", 10, honest)
					read, done := context.WithTimeout(ctx, patience)
					if _, err := registry.ListServices(read, &rollcallv1.ListServicesRequest{PageSize: 100}); err != nil {
						t.Errorf("an honest list: %v", err)
					}
					if _, err := registry.ListEvents(read, &rollcallv1.ListEventsRequest{Service: "payments", PageSize: 5, NewestFirst: true}); err != nil {
						t.Errorf("an honest look at the history: %v", err)
					}
					done()
				}
				mostGoroutines, mostHeap := peak(), heap()
				t.Logf("at most %d goroutines and %d MiB", mostGoroutines, mostHeap>>20)
				if mostHeap > heapLimit {
					t.Errorf("it took %d MiB", mostHeap>>20)
				}
				newest := int64(20_001) // and the flips
				eventually(t, "the honest follower to have it all", func(context.Context) bool { return reached.Load() > newest })
				if tt.watches {
					s.watches(2) // the two honest ones
				}
				cancel()
				following.Wait()
				conn.Close()
				s.watches(1)
				eventually(t, "the budgets to be given back", func(context.Context) bool { return s.used() == 0 })
				s.flip("payments", 2, honest)
				s.settles(before, 24<<20+mostGoroutines*goroutineBytes)
			})
		}
	}
}
