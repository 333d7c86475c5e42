package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// secureArgs are the flags of a node with TLS.
func secureArgs(mode string, f certs.Files) []string {
	return []string{"--tls", mode, "--cert", f.Cert, "--key", f.Key, "--ca", strings.Join(f.CA, ",")}
}

// secureProcesses are nodes with a certificate each, which are not started.
func secureProcesses(t *testing.T, o processOptions, mode string, ca *tlstest.CA) (*processes, map[string]certs.Files) {
	t.Helper()
	if o.creds == nil {
		o.creds = clientCredentials(t, certs.Files{CA: []string{ca.File}})
	}
	c := newProcesses(t, o)
	files := map[string]certs.Files{}
	for _, p := range c.nodes {
		files[p.name] = ca.Issue([]string{p.name, "127.0.0.1"})
		p.args = append(p.args, secureArgs(mode, files[p.name])...)
	}
	return c, files
}

// calls are reads and writes of one client, without a pause, of which none may fail.
type calls struct {
	t      *testing.T
	what   string
	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64
	number atomic.Int64
}

func (c *processes) call(what string, creds credentials.TransportCredentials) *calls {
	c.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints = c.endpoints()
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	cl, err := client.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	l := &calls{t: c.t, what: what}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = func() {
		cancel()
		l.wg.Wait()
		cl.Close()
	}
	c.t.Cleanup(l.stop)
	again := func(f func(ctx context.Context) error) {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				attempt, cancel := context.WithTimeout(context.Background(), patience)
				err := f(attempt)
				cancel()
				l.done.Add(1)
				if err != nil && l.failed.Add(1) <= 5 {
					l.t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	for i := range 3 {
		again(func(ctx context.Context) error {
			_, err := cl.Set(ctx, fmt.Sprintf("%s/w%d", what, i), []client.Status{serving, notServing}[l.number.Add(1)%2], client.WriteOptions{})
			return err
		})
	}
	again(func(ctx context.Context) error {
		_, err := cl.Check(ctx, rollcallv1.OwnReads)
		return err
	})
	return l
}

// progress waits until many more calls were made.
func (l *calls) progress() {
	l.t.Helper()
	from := l.done.Load()
	eventually(l.t, l.what+" to go on", func(context.Context) bool { return l.done.Load() > from+200 })
}

func (l *calls) stop() {
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
		l.t.Logf("%s: %d calls, %d failed", l.what, l.done.Load(), l.failed.Load())
	}
}

// roll restarts one node after the other with another --tls, while calls go on. creds is how the test speaks to each
// from then on.
func (c *processes) roll(files map[string]certs.Files, mode string, creds credentials.TransportCredentials, loads ...*calls) {
	c.t.Helper()
	for _, p := range c.nodes {
		p.stop()
		p.args = secureArgs(mode, files[p.name])
		p.conn.Close()
		p.conn, p.creds = nil, creds
		p.start()
		p.waitStatus("", serving)
		for _, l := range loads {
			l.progress()
		}
	}
}

// TestProcessTLSCutOver: under load a cluster goes from plain text to TLS in two rolling restarts. No call fails.
func TestProcessTLSCutOver(t *testing.T) {
	beside(t, ofProcesses)
	ca := tlstest.NewCA(t, "ca")
	c, files := secureProcesses(t, processOptions{creds: insecure.NewCredentials()}, "off", ca)
	secured := clientCredentials(t, certs.Files{CA: []string{ca.File}})
	c.start()
	c.waitReady()
	plain := c.call("plain", insecure.NewCredentials())
	plain.progress()
	c.roll(files, "permissive", insecure.NewCredentials(), plain)
	tls := c.call("tls", secured)
	tls.progress()
	plain.stop() // the clients have changed
	c.roll(files, "required", secured, tls)
	tls.stop()
	if out, err := c.nodes[0].probe(nil); err == nil {
		t.Errorf("plain text is answered: %s", out)
	}
	if out, err := c.nodes[0].probe(&ca.File); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, p := range c.nodes {
		if !strings.Contains(p.log.String(), "plain text came") && p == c.nodes[0] || strings.Contains(p.log.String(), "TLS failed") {
			t.Errorf("log of %s", p.name)
		}
	}
}

// probe runs "rollcall probe" against the node; ca nil: in plain text.
func (p *process) probe(ca *string) (string, error) {
	args := []string{"probe", rollcallv1.OwnLive, "-e", p.api, "--connect-timeout", "20s", "--rpc-timeout", "20s"}
	if ca != nil {
		args = append(args, "--ca", *ca)
	}
	out, err := exec.Command(binary, args...).CombinedOutput()
	return string(out), err
}

// residentBytes is the memory of the process; 0 where the system does not tell.
func (p *process) residentBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	var size, resident int64
	if _, scan := fmt.Sscan(string(b), &size, &resident); err != nil || scan != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// TestProcessTLSRotation: under load the nodes get new certificates, and then a new CA, without a restart. No call fails,
// and connections of the old CA end.
func TestProcessTLSRotation(t *testing.T) {
	beside(t, ofProcesses)
	old, next := tlstest.NewCA(t, "old"), tlstest.NewCA(t, "next")
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	writeCAs := func(pems ...[]byte) {
		t.Helper()
		if err := os.WriteFile(bundle+".next", bytes.Join(pems, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(bundle+".next", bundle); err != nil {
			t.Fatal(err)
		}
	}
	writeCAs(old.PEM())
	creds := clientCredentials(t, certs.Files{CA: []string{bundle}})
	c, files := secureProcesses(t, processOptions{creds: creds}, "required", old)
	for _, p := range c.nodes {
		f := files[p.name]
		f.CA = []string{bundle}
		p.args, files[p.name] = secureArgs("required", f), f
	}
	c.start()
	c.waitReady()
	alice := old.Issue([]string{"alice"})
	alice.CA = []string{bundle}
	conn, err := grpc.NewClient(c.nodes[0].api, grpc.WithTransportCredentials(clientCredentials(t, alice)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	watch, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: rollcallv1.OwnLive})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	goesOn := c.watchWith(alice)
	goesOn.flip()
	load := c.call("load", creds)
	load.progress()
	taken := 0
	reloaded := func(by func(*process)) {
		t.Helper()
		taken++
		for _, p := range c.nodes {
			by(p)
			eventually(t, p.name+" to take its files", func(context.Context) bool {
				return strings.Count(p.log.String(), "certificates read again") >= taken
			})
		}
		load.progress()
		goesOn.flip()
	}
	hangup := func(p *process) { p.signal(syscall.SIGHUP) }
	// A leaf, by time.
	reloaded(func(p *process) { old.IssueTo(files[p.name], []string{p.name, "127.0.0.1"}) })
	// A bad file changes nothing, and is said once.
	good, err := os.ReadFile(files["n1"].Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files["n1"].Cert, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	n1 := c.nodes[0]
	eventually(t, "an error about the half-written file", func(context.Context) bool {
		n1.signal(syscall.SIGHUP)
		return strings.Contains(n1.log.String(), `level=ERROR msg="certificates not taken`)
	})
	load.progress()
	if err := os.WriteFile(files["n1"].Cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	// The CA.
	writeCAs(old.PEM(), next.PEM())
	reloaded(hangup)
	reloaded(func(p *process) {
		next.IssueTo(files[p.name], []string{p.name, "127.0.0.1"})
		hangup(p)
	})
	next.IssueTo(alice, []string{"alice"})
	writeCAs(next.PEM())
	reloaded(hangup)
	if _, err := watch.Recv(); err == nil || ctx.Err() != nil {
		t.Errorf("the watch of the old CA's client: %v", err)
	}
	load.progress()
	goesOn.flip() // over a connection with the new certificate
	load.stop()
	if n := strings.Count(n1.log.String(), `level=ERROR msg="certificates not taken`); n != 1 {
		t.Errorf("a bad file is reported %d times", n)
	}
}

// TestProcessTLSStrangers: whose certificate is expired, of another CA or none learns nothing on any port. The log says
// why.
func TestProcessTLSStrangers(t *testing.T) {
	beside(t, ofProcesses)
	ca, other := tlstest.NewCA(t, "ca"), tlstest.NewCA(t, "other")
	c, _ := secureProcesses(t, processOptions{nodes: 1}, "required", ca)
	c.start()
	c.waitReady()
	n1 := c.nodes[0]
	ports := map[string]struct{ address, protocol string }{"api": {n1.api, "h2"}, "peer": {n1.peer, "rollcall-peer"}, "http": {n1.http, ""}}
	for port, at := range ports {
		for name, test := range map[string]struct {
			files certs.Files
			says  string
		}{
			"another CA": {other.Issue([]string{"n1"}), "is signed by no CA that is trusted here"},
			"expired":    {ca.Issue([]string{"n1"}, tlstest.Expired), "expired on"},
		} {
			pair, err := tls.LoadX509KeyPair(test.files.Cert, test.files.Key)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", at.address)
			if err != nil {
				t.Fatal(err)
			}
			secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: strings.Fields(at.protocol),
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }})
			_ = conn.SetDeadline(time.Now().Add(patience))
			b, err := io.ReadAll(secured)
			if err == nil || !strings.Contains(err.Error(), "remote error: tls: bad certificate") || len(b) > 0 {
				t.Errorf("%s, %s: %q %v", port, name, b, err)
			}
			conn.Close()
			eventually(t, "a line in the log", func(context.Context) bool {
				for _, line := range strings.Split(n1.log.String(), "\n") {
					if strings.Contains(line, `level=WARN msg="a connection is refused"`) && strings.Contains(line, "port="+port) && strings.Contains(line, test.says) {
						return true
					}
				}
				return false
			})
		}
		// In plain text, in three languages: not one byte comes back.
		for _, first := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RCP\x01\x00\x00\x00\x00"} {
			conn, err := net.Dial("tcp", at.address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := conn.Write([]byte(first)); err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(conn); len(b) > 0 {
				t.Errorf("%s answers %q to plain text", port, b)
			}
			conn.Close()
		}
	}
}

// TestProcessTLSHalfHandshakes: 10,000 connections whose handshake does not end cost a node 64 MB at most, and while they
// are there a probe is answered.
func TestProcessTLSHalfHandshakes(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	c, _ := secureProcesses(t, processOptions{nodes: 1}, "required", ca)
	c.start()
	c.waitReady()
	n1 := c.nodes[0]
	if out, err := n1.probe(&ca.File); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	hello := clientHello(t)
	before := n1.residentBytes()
	var most int64
	var strangers []net.Conn
	open := func(address string, n int) {
		for i := range n {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			strangers = append(strangers, conn)
			switch i % 3 { // one says nothing, one half, one all that it can say
			case 1:
				_, _ = conn.Write(hello[:len(hello)/2])
			case 2:
				_, _ = conn.Write(hello)
			}
			if i%500 == 0 {
				most = max(most, n1.residentBytes())
			}
		}
	}
	open(n1.peer, 1000)
	open(n1.http, 1000)
	open(n1.api, 8000)
	// On a busy machine one probe may be among those that make room; whoever probes asks again.
	eventually(t, "a probe to be answered", func(context.Context) bool {
		_, err := n1.probe(&ca.File)
		return err == nil
	})
	most = max(most, n1.residentBytes())
	t.Logf("resident: %d MB before, %d MB at most", before>>20, most>>20)
	if most-before > 64<<20 && !raceEnabled {
		t.Errorf("resident: %d MB before, %d MB at most", before>>20, most>>20)
	}
	for _, conn := range strangers {
		conn.Close()
	}
}

// clientHello is what a client of TLS begins with.
func clientHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "rollcall-peer"}}).Handshake()
	}()
	b := make([]byte, 64<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	<-done
	near.Close()
	return b[:n]
}
