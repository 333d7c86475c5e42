package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// instanceEnv makes the test binary an instance of a service: a process with the drop-in health server. Its value is
// the name of its service in the registry, its address, and the endpoints of the registry.
const instanceEnv = "ROLLCALL_TEST_INSTANCE"

// instanceTTL is that of the leases of instances.
const instanceTTL = 3 * time.Second

// workMethod is what instances serve. The answer is when the call was served, in nanoseconds since 1970.
const workMethod = "/rollcall.test.Work/Do"

var workService = grpc.ServiceDesc{
	ServiceName: "rollcall.test.Work",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Do",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(&emptypb.Empty{}); err != nil {
				return nil, err
			}
			return wrapperspb.Int64(time.Now().UnixNano()), nil
		},
	}},
}

// instanceMain is the process of an instance. Its standard input has a command a line: "shutdown", "resume", and its
// end, which stops the process in order.
func instanceMain(spec string) int {
	if err := serveInstance(strings.Fields(spec)); err != nil {
		fmt.Fprintln(os.Stderr, "instance:", err)
		return 1
	}
	return 0
}

func serveInstance(spec []string) error {
	service, address := spec[0], spec[1]
	cfg := client.DefaultConfig()
	cfg.Endpoints = strings.Split(spec[2], ",")
	cfg.Actor = "instance " + address
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	health, err := healthserver.New(service, healthserver.WithClient(c), healthserver.WithInstance(address), healthserver.WithDrain(200*time.Millisecond),
		healthserver.WithPublish(healthserver.Publish{TTL: instanceTTL}), healthserver.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	// Both cells are one service to those who call it.
	health.SetServingStatus("checkout", serving)
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, health)
	g.RegisterService(&workService, nil)
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- health.Run(ctx) }()
	go func() { served <- g.Serve(l) }()
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		switch command := commands.Text(); command {
		case "shutdown":
			health.Shutdown()
		case "resume":
			health.Resume()
		default:
			return fmt.Errorf("no such command: %q", command)
		}
		fmt.Fprintln(os.Stderr, "did", commands.Text())
	}
	stopping, cancelStop := context.WithTimeout(ctx, patience)
	defer cancelStop()
	health.Stop(stopping, g)
	return errors.Join(<-ran, <-served)
}

// instance is such a process. Its address outlives it.
type instance struct {
	t             *testing.T
	name, service string
	address       string
	endpoints     []string
	cmd           *exec.Cmd
	commands      io.WriteCloser
	log           syncBuffer
}

func startInstance(t *testing.T, name, service string, endpoints []string) *instance {
	t.Helper()
	i := &instance{t: t, name: name, service: service, address: freePort(t), endpoints: endpoints}
	i.start()
	t.Cleanup(func() {
		i.kill()
		if t.Failed() {
			t.Logf("--- log of instance %s\n%s", i.name, tail(i.log.String(), 4000))
		}
	})
	return i
}

func (i *instance) start() {
	i.t.Helper()
	self, err := os.Executable()
	if err != nil {
		i.t.Fatal(err)
	}
	i.cmd = exec.Command(self)
	i.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", instanceEnv, i.service, i.address, strings.Join(i.endpoints, ",")))
	i.cmd.Stderr = &i.log
	if i.commands, err = i.cmd.StdinPipe(); err != nil {
		i.t.Fatal(err)
	}
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
}

// registered is its name in the registry.
func (i *instance) registered() string { return i.service + "/" + i.address }

// do gives it a command, and returns when it was sent.
func (i *instance) do(command string) {
	i.t.Helper()
	if _, err := fmt.Fprintln(i.commands, command); err != nil {
		i.t.Fatalf("%s: %v", i.name, err)
	}
}

// kill is SIGKILL.
func (i *instance) kill() {
	if i.cmd != nil {
		i.cmd.Process.Signal(syscall.SIGKILL)
		i.cmd.Wait()
		i.cmd = nil
	}
}

// stop ends it in order.
func (i *instance) stop() {
	i.t.Helper()
	i.commands.Close()
	if err := i.cmd.Wait(); err != nil {
		i.t.Errorf("%s, which was to stop: %v", i.name, err)
	}
	i.cmd = nil
}

// rawWatch is a Watch of an instance's health that no channel's health check holds, so that nobody gives it up.
type rawWatch struct {
	cancel context.CancelFunc
	began  chan struct{} // closed when the first status has come
	done   chan struct{}
	seen   []client.Status // after done: each that was sent
	err    error           // after done: how it ended
}

// watch opens a Watch as soon as the instance serves, if it does not yet.
func (i *instance) watch(t *testing.T) *rawWatch {
	t.Helper()
	return watchRaw(t, i.address, "")
}

// watchRaw opens a Watch of a service at an address.
func watchRaw(t *testing.T, address, service string) *rawWatch {
	t.Helper()
	soon := backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: patience}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	w := &rawWatch{cancel: cancel, began: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer conn.Close()
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
		for err == nil {
			var m *healthpb.HealthCheckResponse
			if m, err = stream.Recv(); err == nil {
				if w.seen = append(w.seen, m.GetStatus()); len(w.seen) == 1 {
					close(w.began)
				}
			}
		}
		w.err = err
	}()
	t.Cleanup(w.stop)
	return w
}

func (w *rawWatch) stop() {
	w.cancel()
	<-w.done
}
