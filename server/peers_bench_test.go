//go:build unix

package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// The benchmarks of this file compare with grpc-go's own health server, its server options at their
// defaults. Each of the two runs in a process of its own, so that what it costs is its own, and takes
// the same work from the same client in turn.

const (
	peerEnv  = "ROLLCALL_BENCH_SERVER" // what a child process is
	ours     = "rollcall"
	theirs   = "grpc-go"
	checker  = "checker" // a client, so that nothing else of the client's delays its calls
	watched  = "team/watched"
	profiles = "ROLLCALL_BENCH_PROFILES" // a directory for CPU profiles of the servers
)

func benchName(i int) string { return fmt.Sprintf("team-%d/service-%d", i%100, i) }

// target is what a child serves.
type target interface {
	// set makes each of the names what it is told, at once where that is possible.
	set(names []string, s Status)
}

type theirTarget struct{ *grpchealth.Server }

func (t theirTarget) set(names []string, s Status) {
	for _, name := range names {
		t.SetServingStatus(name, s)
	}
}

// ourTarget is the fold behind a Server, without a log.
type ourTarget struct {
	fsm   *fsm.FSM
	index uint64
}

func (t *ourTarget) set(names []string, s Status) {
	const most = 100
	for len(names) > 0 {
		n := min(most, len(names))
		w := &logv1.Write{}
		for _, name := range names[:n] {
			w.Changes = append(w.Changes, &logv1.Change{Service: name, Status: logv1.Status(s)})
		}
		names = names[n:]
		data, err := logv1.Seal(&logv1.Entry{Time: time.Now().UnixNano(), Commands: []*logv1.Command{{
			Kind: &logv1.Command_Write{Write: w}, Actor: &logv1.Actor{Name: "static:bench", Verified: true, StaticAdmin: true},
		}}})
		if err != nil {
			panic(err)
		}
		t.index++
		t.fsm.ApplyBatch([]*raft.Log{{Index: t.index, Term: 1, Type: raft.LogCommand, Data: data}})
	}
}

// noRegistryFile stores nothing.
type noRegistryFile struct{ fsm.RegistryFile }

func (noRegistryFile) Append(*logv1.Delta) {}
func (noRegistryFile) Load(logv1.Visitor) (*logv1.RegistryMeta, error) {
	return &logv1.RegistryMeta{Level: logv1.LevelAccess}, nil
}
func (noRegistryFile) Scan(context.Context, logv1.Visitor) (*logv1.RegistryMeta, error) {
	return &logv1.RegistryMeta{Level: logv1.LevelAccess}, nil
}
func (noRegistryFile) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (noRegistryFile) Replace(io.Reader) error             { return nil }
func (noRegistryFile) DurableRevision() int64              { return 1 << 62 }

// TestServeForBenchmarks is the child process of the benchmarks; by itself it does nothing. It serves
// until its standard input ends, and takes orders there.
func TestServeForBenchmarks(t *testing.T) {
	kind := os.Getenv(peerEnv)
	if kind == "" {
		t.Skip("is the child process of benchmarks")
	}
	if kind == checker {
		fmt.Println("serving nobody")
		check(t)
		return
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tg target
	switch kind {
	case ours, openAccess, closedAccess:
		reserved := make([]byte, 32<<20) // as rollcall serve does
		defer runtime.KeepAlive(&reserved)
		our := serveOurs(t, lis)
		switch kind {
		case openAccess:
			our.enforce(access.Viewer)
		case closedAccess:
			our.enforce("")
		}
		tg = our
	default:
		h := grpchealth.NewServer()
		s := grpc.NewServer()
		healthpb.RegisterHealthServer(s, h)
		go s.Serve(lis)
		defer s.Stop()
		tg = theirTarget{h}
	}
	tg.set([]string{watched}, serving)
	fmt.Printf("serving %s\n", lis.Addr())
	obey(tg, kind)
}

func serveOurs(t *testing.T, lis net.Listener) *ourTarget {
	f, err := fsm.New(fsm.Config{RegistryFile: noRegistryFile{}})
	if err != nil {
		t.Fatal(err)
	}
	registry := newFakeRegistry()
	agreement := newFakeAgreement(registry)
	cfg := DefaultConfig()
	cfg.Node, cfg.Logger = "n1", slog.New(slog.DiscardHandler)
	s, err := New(cfg, Deps{
		Statuses: f, Registry: registry, Layers: registry, Leases: &fakeLeases{}, Access: foldAccess{f}, Lessor: &fakeLessor{agreement: agreement}, Followers: registry, History: registry, Agreement: agreement, Node: agreement,
		Members: &fakeMembers{}, Peers: peerFunc(func(context.Context, string) (net.Conn, error) { return nil, errRefused }),
	})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis, peers) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Stop(ctx)
		<-served
		f.Close()
	})
	return &ourTarget{fsm: f}
}

// obey answers each order with a line that begins with "done".
func obey(tg target, kind string) {
	var changing sync.WaitGroup
	stop := make(chan struct{})
	var profile *os.File
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		word, rest, _ := strings.Cut(orders.Text(), " ")
		n, _ := strconv.Atoi(rest)
		answer := ""
		switch word {
		case "fill": // n services
			var names []string
			for i := range n {
				names = append(names, benchName(i))
			}
			tg.set(names, serving)
		case "flip": // the watched service
			s := serving
			if n%2 == 0 {
				s = notServing
			}
			tg.set([]string{watched}, s)
		case "change": // n services a second, ten batches a second, until the next
			close(stop)
			changing.Wait()
			stop = make(chan struct{})
			if n > 0 {
				until := stop
				changing.Go(func() { change(tg, n/10, until) })
			}
		case "cpu": // nanoseconds, of this process so far
			answer = fmt.Sprint(processorTime().Nanoseconds())
		case "memory": // heap and stacks in use; resident
			runtime.GC()
			runtime.GC() // what sync.Pools hold survives one
			debug.FreeOSMemory()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			answer = fmt.Sprint(m.HeapAlloc, " ", m.StackInuse, " ", resident())
		case "profile":
			if dir := os.Getenv(profiles); dir != "" {
				profile, _ = os.Create(fmt.Sprintf("%s/%s-%s.pprof", dir, kind, rest))
				_ = pprof.StartCPUProfile(profile)
			}
		case "profiled":
			if profile != nil {
				pprof.StopCPUProfile()
				profile.Close()
				profile = nil
			}
		}
		fmt.Println("done", answer)
	}
	close(stop)
	changing.Wait()
}

// check answers each line, an address and milliseconds, with the longest of the Checks that it made one
// after the other for so long, in nanoseconds.
func check(t *testing.T) {
	conns := map[string]*grpc.ClientConn{}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		addr, rest, _ := strings.Cut(orders.Text(), " ")
		ms, _ := strconv.Atoi(rest)
		conn := conns[addr]
		if conn == nil {
			var err error
			if conn, err = grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns[addr] = conn
		}
		client, req := healthpb.NewHealthClient(conn), &healthpb.HealthCheckRequest{Service: benchName(0)}
		var longest time.Duration
		for start, last := time.Now(), time.Now(); time.Since(start) < time.Duration(ms)*time.Millisecond; last = time.Now() {
			if _, err := client.Check(context.Background(), req, grpc.WaitForReady(true)); err != nil {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(last))
		}
		fmt.Println("done", longest.Nanoseconds())
	}
}

func change(tg target, batch int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		var names []string
		for k := range batch {
			names = append(names, benchName((i/2)*batch%900+k))
		}
		tg.set(names, Status(1+i%2))
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the process's own resident memory in bytes; 0 where /proc does not tell.
func resident() int {
	b, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize()
}

// peerProcess is a child as its benchmark sees it.
type peerProcess struct {
	b       testing.TB
	addr    string
	orders  io.WriteCloser
	answers *bufio.Scanner
}

func startPeer(b testing.TB, kind string) *peerProcess {
	b.Helper()
	return startPeerOf(b, os.Args[0], kind)
}

// startPeerOf starts a child of another binary.
func startPeerOf(b testing.TB, binary, kind string) *peerProcess {
	b.Helper()
	cmd := exec.Command(binary, "-test.run=^TestServeForBenchmarks$", "-test.v=false")
	cmd.Env = append(os.Environ(), peerEnv+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		stuck := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer stuck.Stop()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	p := &peerProcess{b: b, orders: in, answers: bufio.NewScanner(out)}
	p.addr = p.line("serving ")
	return p
}

func (p *peerProcess) line(prefix string) string {
	p.b.Helper()
	for p.answers.Scan() {
		if rest, ok := strings.CutPrefix(p.answers.Text(), prefix); ok {
			return rest
		}
	}
	p.b.Fatal("the child has ended")
	return ""
}

// order returns the numbers of the answer.
func (p *peerProcess) order(format string, args ...any) []int64 {
	p.b.Helper()
	if _, err := fmt.Fprintf(p.orders, format+"\n", args...); err != nil {
		p.b.Fatal(err)
	}
	var numbers []int64
	for f := range strings.FieldsSeq(p.line("done ")) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			p.b.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

func (p *peerProcess) cpu() time.Duration { return time.Duration(p.order("cpu")[0]) }
