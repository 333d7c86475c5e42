package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// BenchmarkKeepAlive is what renewing 10,000 leases a second costs the node that is called: one lease on each of 10,000
// streams, or 100 on each of 100. Messages come at that rate, spread over the second as those of reporters are, from
// raw connections whose threads are not counted. n1 leads, or forwards to n2, whose work is in the same process and is
// counted too. The lessor is a fake that finds all leases.
//
// An operation is one lease renewed. core% is how much of one core the rate of 10,000 a second takes.
func BenchmarkKeepAlive(b *testing.B) {
	for _, leader := range []string{"n1", "n2"} {
		for _, load := range []struct{ connections, streams, ids int }{{1, 10_000, 1}, {100, 100, 1}, {10, 10, 100}} {
			b.Run(fmt.Sprintf("leader=%s/connections=%d/streams=%d/ids=%d", leader, load.connections, load.connections*load.streams, load.ids), func(b *testing.B) {
				benchmarkKeepAlive(b, leader, load.connections, load.streams, load.ids)
			})
		}
	}
}

func benchmarkKeepAlive(b *testing.B, leader string, connections, streams, ids int) {
	c := newTestCluster(b, 2)
	c.elect(leader)
	n := c.nodes["n1"]
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Node, cfg.Logger = "n1", n.log
	srv, err := New(cfg, Deps{Statuses: n.registry, Registry: n.registry, Layers: n.registry, Leases: &n.leases, Access: &n.access, Lessor: &n.lessor, Followers: n.registry, History: n.registry,
		Agreement: n.agreement, Node: n.agreement, Members: &n.members, Peers: peerFunc(c.dial)})
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis, bufconn.Listen(bufSize)) }()
	client := newRawKeepAlives(b, lis.Addr().(*net.TCPAddr), connections, streams, ids, func(ids []string) { n.leases.put(30*time.Second, ids...) })
	b.Cleanup(func() {
		client.close()
		if err := srv.Stop(patient(b)); err != nil {
			b.Error(err)
		}
		<-served
	})
	messages := max(b.N/ids, 1)
	var before, after runtime.MemStats
	runtime.LockOSThread() // the client's sender
	defer runtime.UnlockOSThread()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	busy := client.others(b)
	const perTick = 10
	pace := time.NewTicker(perTick * time.Second * time.Duration(ids) / 10_000)
	defer pace.Stop()
	for sent := 0; sent < messages; sent += perTick {
		<-pace.C
		client.send(b, min(perTick, messages-sent))
	}
	client.await(b)
	busy = client.others(b) - busy
	b.StopTimer()
	runtime.ReadMemStats(&after)
	leases := float64(messages * ids)
	b.ReportMetric(100*10_000*busy.Seconds()/leases, "core%")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/leases, "mallocs/op")
	b.ReportMetric(0, "ns/op") // the pace is given
}

// rawKeepAlives are streams of a client that knows of HTTP/2 just enough. One thread sends, another counts answers.
type rawKeepAlives struct {
	files    []int // of the connections
	poll     int
	messages [][]byte // a frame for each stream: first of each connection the first, then the second of each
	sent     int
	received atomic.Int64
	busy     atomic.Int64 // processor time of the receiving thread, nanoseconds
	ended    chan struct{}
}

func newRawKeepAlives(b *testing.B, addr *net.TCPAddr, connections, streams, ids int, grant func(ids []string)) *rawKeepAlives {
	b.Helper()
	r := &rawKeepAlives{ended: make(chan struct{})}
	check := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	var err error
	r.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check(err)
	to := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte{127, 0, 0, 1}}
	for i := range connections {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err)
		r.files = append(r.files, fd)
		check(unix.Connect(fd, to))
		check(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		var out, head bytes.Buffer
		out.WriteString(http2.ClientPreface)
		fr, enc := http2.NewFramer(&out, nil), hpack.NewEncoder(&head)
		check(fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
		check(fr.WriteWindowUpdate(0, 1<<30))
		check(fr.WriteSettingsAck())
		for stream := range streams {
			head.Reset()
			for _, f := range [][2]string{
				{":method", "POST"}, {":scheme", "http"}, {":path", "/rollcall.v1.Admin/KeepAlive"}, {":authority", "n1"},
				{"content-type", "application/grpc"}, {"user-agent", "grpc-go/1.85.0"}, {"te", "trailers"},
			} {
				check(enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
			}
			id := uint32(1 + 2*stream)
			check(fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true}))
			leases := make([]string, ids)
			for k := range leases {
				leases[k] = fmt.Sprintf("%016x", (i*streams+stream)*ids+k)
			}
			grant(leases)
			m, err := proto.Marshal(&rollcallv1.KeepAliveRequest{LeaseIds: leases})
			check(err)
			var message bytes.Buffer
			check(http2.NewFramer(&message, nil).WriteData(id, false, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)))
			r.messages = append(r.messages, message.Bytes())
		}
		r.write(b, fd, out.Bytes())
	}
	byStream := make([][]byte, 0, len(r.messages))
	for stream := range streams {
		for i := range connections {
			byStream = append(byStream, r.messages[i*streams+stream])
		}
	}
	r.messages = byStream
	for i, fd := range r.files {
		check(unix.EpollCtl(r.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}))
	}
	go r.receive()
	for range len(r.messages) / 10 { // the first message of each stream
		r.send(b, 10)
		if r.sent%1_000 == 0 {
			r.await(b)
		}
	}
	r.await(b)
	return r
}

func (r *rawKeepAlives) write(b *testing.B, fd int, data []byte) {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			b.Fatal(err)
		}
		data = data[n:]
	}
}

// send sends the message of the next n streams; those of one connection in one piece.
func (r *rawKeepAlives) send(b *testing.B, n int) {
	byFile := make(map[int][]byte, n)
	for range n {
		fd := r.files[r.sent%len(r.files)]
		byFile[fd] = append(byFile[fd], r.messages[r.sent%len(r.messages)]...)
		r.sent++
	}
	for fd, data := range byFile {
		r.write(b, fd, data)
	}
}

// await waits until everything is answered.
func (r *rawKeepAlives) await(b *testing.B) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for patience := time.Now().Add(time.Minute); r.received.Load() < int64(r.sent); <-look.C {
		if time.Now().After(patience) {
			b.Fatalf("%d of %d answers came", r.received.Load(), r.sent)
		}
	}
}

// receive counts frames with data: each answer is one.
func (r *rawKeepAlives) receive() {
	runtime.LockOSThread() // it ends with the goroutine
	defer close(r.ended)
	const header = 9
	events, room, rest := make([]unix.EpollEvent, 64), make([]byte, 64<<10), make([][]byte, len(r.files))
	for {
		n, err := unix.EpollWait(r.poll, events, 100)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			got, err := unix.Read(r.files[e.Fd], room)
			if got <= 0 || err != nil {
				return // it was closed
			}
			b := append(rest[e.Fd], room[:got]...)
			for len(b) >= header {
				size := header + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
				if len(b) < size {
					break
				}
				if http2.FrameType(b[3]) == http2.FrameData {
					r.received.Add(1)
				}
				b = b[size:]
			}
			rest[e.Fd] = append(rest[e.Fd][:0], b...)
		}
		var u unix.Rusage
		if unix.Getrusage(unix.RUSAGE_THREAD, &u) == nil {
			r.busy.Store(u.Utime.Nano() + u.Stime.Nano())
		}
	}
}

// others is the processor time of this process without the client's threads; the sender is the one that calls.
func (r *rawKeepAlives) others(b *testing.B) time.Duration {
	var all, sender unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &all); err != nil {
		b.Fatal(err)
	}
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &sender); err != nil {
		b.Fatal(err)
	}
	return time.Duration(all.Utime.Nano() + all.Stime.Nano() - sender.Utime.Nano() - sender.Stime.Nano() - r.busy.Load())
}

func (r *rawKeepAlives) close() {
	for _, fd := range r.files {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	<-r.ended
	for _, fd := range append(r.files, r.poll) {
		_ = unix.Close(fd)
	}
}
