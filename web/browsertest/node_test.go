package browsertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// A node is one rollcall serve process with the page.
type node struct {
	name     string
	api      string // address
	http     string // address
	args     []string
	dir      string
	services int // of a shared node
	// admin is the token of an administrator, and ca the file of the CA, of a node that enforces access.
	admin, ca string

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
	stdin io.Closer     // the process ends with it, and so with this one
	conn  *grpc.ClientConn
}

// newNodes are the nodes of a cluster that do not run yet.
func newNodes(dir string, count int, secure bool, more ...string) ([]*node, error) {
	addresses, err := freeAddresses(3 * count)
	if err != nil {
		return nil, err
	}
	var nodes []*node
	var members []string
	for i := range count {
		n := &node{name: fmt.Sprintf("n%d", i+1), api: addresses[3*i], http: addresses[3*i+2], dir: dir}
		members = append(members, fmt.Sprintf("--member=%s,api=%s,peer=%s", n.name, n.api, addresses[3*i+1]))
		n.args = []string{"serve", "--exit-with-parent", "--node", n.name, "--data", filepath.Join(dir, n.name), "--http", n.http, "--web", "--log-level", "warn"}
		nodes = append(nodes, n)
	}
	if secure {
		if err := certificates(dir, nodes); err != nil {
			return nil, err
		}
	}
	for _, n := range nodes {
		n.args = append(append(n.args, members...), more...)
		if !secure {
			n.args = append(n.args, "--web-writes")
		}
	}
	return nodes, nil
}

// certificates makes the nodes ones with TLS, and with the token of an administrator.
func certificates(dir string, nodes []*node) error {
	token := filepath.Join(dir, "admin.token")
	if err := rollcall("cert", "ca", "--dir", dir); err != nil {
		return err
	}
	if err := rollcall("token", "generate", "--out", token); err != nil {
		return err
	}
	text, err := os.ReadFile(token)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := rollcall("cert", "node", n.name, "--dir", dir, "--host", "127.0.0.1"); err != nil {
			return err
		}
		n.admin, n.ca = strings.TrimSpace(string(text)), filepath.Join(dir, "ca.crt")
		n.args = append(n.args, "--tls", "required", "--ca", n.ca, "--cert", filepath.Join(dir, n.name+".crt"), "--key", filepath.Join(dir, n.name+".key"), "--admin-token-file", token)
	}
	return nil
}

// rollcall runs a command.
func rollcall(args ...string) error {
	if out, err := exec.Command(*program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("rollcall %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// url is the address of a path of the HTTP port.
func (n *node) url(path string) string {
	if n.ca != "" {
		return "https://" + n.http + path
	}
	return "http://" + n.http + path
}

// start runs the process; it returns when the process answers, ready or not.
func (n *node) start() error {
	n.cmd = exec.Command(*program, n.args...)
	log, err := os.OpenFile(filepath.Join(n.dir, n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stderr, n.cmd.Stdout = log, log
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := n.cmd, make(chan struct{})
	n.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return n.until("/livez")
}

// until waits until a path answers 200.
func (n *node) until(path string) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	var last error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		answer, err := client.Get(n.url(path))
		if err != nil {
			last = err
			select {
			case <-n.ended:
				last, deadline = errors.New("the process has ended"), time.Now()
			default:
			}
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		last = errors.New(answer.Status)
	}
	log, _ := os.ReadFile(filepath.Join(n.dir, n.name+".log"))
	return fmt.Errorf("%s: %s: %w\n%s", n.name, path, last, log)
}

func (n *node) signal(sig syscall.Signal) { _ = n.cmd.Process.Signal(sig) }

// kill ends the process at once, as a crash does.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	n.signal(syscall.SIGKILL)
	<-n.ended
	n.stdin.Close()
	n.cmd = nil
}

func (n *node) stop() {
	if n.conn != nil {
		n.conn.Close()
	}
	n.kill()
}

// call is the context of a call, of an administrator where access is enforced.
func (n *node) call() context.Context {
	if n.admin == "" {
		return context.Background()
	}
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+n.admin)
}

func (n *node) dial() (*grpc.ClientConn, error) {
	if n.conn != nil {
		return n.conn, nil
	}
	creds := insecure.NewCredentials()
	if n.ca != "" {
		pem, err := os.ReadFile(n.ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		creds = credentials.NewTLS(&tls.Config{RootCAs: roots})
	}
	conn, err := grpc.NewClient("passthrough:///"+n.api, grpc.WithTransportCredentials(creds))
	n.conn = conn
	return conn, err
}

func (n *node) client(t testing.TB) rollcallv1.AdminClient {
	t.Helper()
	conn, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	return rollcallv1.NewAdminClient(conn)
}

// startNode runs a cluster of one node for this test alone. Whoever can reach its HTTP port may write.
func startNode(t testing.TB, args ...string) *node {
	t.Helper()
	return startNodes(t, 1, args...)[0]
}

// startNodes runs a cluster for this test alone.
func startNodes(t testing.TB, count int, args ...string) []*node {
	t.Helper()
	return started(t, count, false, args...)
}

// startSecure runs a node with TLS that enforces access, for this test alone; admin is an administrator's token. Callers
// without a token may read.
func startSecure(t testing.TB, args ...string) *node {
	t.Helper()
	n := started(t, 1, true, args...)[0]
	if err := n.enforce(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) enforce() error { return n.anonymous("viewer") }

func started(t testing.TB, count int, secure bool, args ...string) []*node {
	t.Helper()
	nodes, err := newNodes(t.TempDir(), count, secure, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			n.stop()
		}
		if t.Failed() {
			for _, n := range nodes {
				if log, _ := os.ReadFile(filepath.Join(n.dir, n.name+".log")); len(log) > 0 {
					t.Logf("log of %s:\n%s", n.name, log[max(0, len(log)-4000):])
				}
			}
		}
	})
	if err := startAll(nodes); err != nil {
		t.Fatal(err)
	}
	return nodes
}

func startAll(nodes []*node) error {
	for _, n := range nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := n.until("/readyz/leader"); err != nil {
			return err
		}
	}
	// A new cluster is at its first level for a moment, and knows nothing of overrides, leases and access then.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		level, err := nodes[0].sample("rollcall_feature_level")
		if err == nil && level >= 2 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the cluster is at level %v, and does not come to level 2: %w", level, err)
		}
	}
}

// freeAddresses are addresses that nobody listens at, below the ports that the system gives to connections.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range 1000 {
		if len(addresses) == n {
			return addresses, nil
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			continue
		}
		defer l.Close() // after all are found, so that none is found twice
		addresses = append(addresses, l.Addr().String())
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}
