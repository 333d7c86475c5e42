package checks

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

// TestSpanOfTheLongestTimes: the least Duration has no opposite, and what is 300 years away is shown as that.
func TestSpanOfTheLongestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{math.MaxInt64: "106751d", math.MinInt64: "-106751d", math.MinInt64 + 1: "-106751d"} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %s, want %s", d, got, want)
		}
	}
}

// TestCertificatesOfOtherAges: a server chooses the dates in its certificate, and any year from 0 to 9999 can be
// written there.
func TestCertificatesOfOtherAges(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		from, to int
		fail     string
	}{
		{1, 1600, "expired 106751d ago, on 1600-01-01"},
		{1, 1, "expired"},
		{2000, 9999, ""},
		{9998, 9999, "not valid yet, not before 9998-01-01"},
		{2100, 1600, "not valid yet"},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: year(tt.from), NotAfter: year(tt.to)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "c.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		err = within(t, CertFile("x", path), 5*time.Second)
		if tt.fail == "" {
			wantOK(t, err)
		} else {
			wantFailure(t, err, "the certificate of no name", tt.fail)
		}
	}
}

// TestFileOfOtherAges: whoever owns a file chooses its time.
func TestFileOfOtherAges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(at time.Time) bool {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Logf("this file system does not take %v: %v", at, err)
			return false
		}
		info, err := os.Stat(path)
		return err == nil && info.ModTime().Year() == at.Year()
	}
	if set(time.Unix(13_569_465_600, 0)) { // in the year 2400
		wantWarning(t, within(t, FileAge("x", path, time.Hour), 5*time.Second), "ahead of this machine's clock")
	}
	if set(time.Unix(0, 0)) {
		wantFailure(t, within(t, FileAge("x", path, time.Hour), 5*time.Second), "last changed")
	}
}

// TestNilOptions: constructors keep what is wrong, also an option that is nil.
func TestNilOptions(t *testing.T) {
	refuses(t, HTTP("x", "http://x/", nil), "an option is nil")
	refuses(t, GRPC("x", "x:80", nil), "an option is nil")
	refuses(t, GRPC("x", "x:80", GRPCDialOptions(nil)), "an option of the connection is nil")
	refuses(t, DNS("x", "x", nil), "an option is nil")
	refuses(t, Command("x", []string{"true"}, nil), "an option is nil")
	refuses(t, CertFile("x", "p", nil), "an option is nil")
	refuses(t, CertEndpoint("x", "x:1", nil), "an option is nil")
	refuses(t, HTTP("x", "http://x/", HTTPTransport((*http.Transport)(nil))), "nil")
}

// TestZeroTTL: it was not made by NewTTL.
func TestZeroTTL(t *testing.T) {
	r := NewRunner()
	if err := r.Add("", &TTL{}); err == nil {
		t.Error("a TTL that NewTTL did not make is taken")
	}
	var none TTL
	none.OK()
	none.Fail(nil)
	none.Degraded(nil)
	if err := none.Check(t.Context()); err == nil {
		t.Error("a TTL that NewTTL did not make is well")
	}
	if none.Validate() == nil {
		t.Error("Validate has nothing against a TTL that NewTTL did not make")
	}
}

// TestCertFileThatIsNoFile: reading a pipe that nobody writes to would never end.
func TestCertFileThatIsNoFile(t *testing.T) {
	wantFailure(t, within(t, CertFile("x", t.TempDir()), ample), "not a file, but a directory")
	if mkfifo, err := exec.LookPath("mkfifo"); err == nil {
		path := filepath.Join(t.TempDir(), "fifo")
		if err := exec.Command(mkfifo, path).Run(); err != nil {
			t.Fatal(err)
		}
		wantFailure(t, within(t, CertFile("x", path), ample), path, "not a file")
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		wantFailure(t, within(t, CertFile("x", "/dev/zero"), ample), "not a file")
	}
}

func TestHTTPBomb(t *testing.T) {
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 1 << 14 { // 1 GiB of zeros, 1 MiB as it is sent
			if _, err := z.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
		z.Close()
	})
	wantOK(t, within(t, HTTP("x", url), 20*time.Second))
	broken := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "no gzip")
	})
	wantFailure(t, within(t, HTTP("x", broken), 5*time.Second), "broke off")
}

// drip writes text again and again until the other side leaves.
func drip(conn net.Conn, head, text string) {
	io.WriteString(conn, head)
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
	}
}

func TestHTTPEndlessHeaders(t *testing.T) {
	for head, line := range map[string]string{
		"HTTP/1.1 200 OK\r\n":                                   "X-More: more\r\n",
		"HTTP/1.1 200 OK":                                       "x",
		"HTTP/1.1 103 Early Hints\r\n\r\n":                      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n": "1;x=" + strings.Repeat("x", 1000) + "\r\ny\r\n",
	} {
		err := within(t, HTTP("x", "http://"+listen(t, func(conn net.Conn) {
			http.ReadRequest(bufio.NewReader(conn))
			drip(conn, head, line)
		})), 20*time.Second)
		if err == nil && !strings.Contains(head, "chunked") {
			t.Errorf("%q without end is well", head+line)
		}
		if late := (*lateError)(nil); errors.As(err, &late) {
			t.Errorf("%q without end is read until the timeout: %v", head+line, err)
		}
	}
}

func TestHTTPRedirectsElsewhere(t *testing.T) {
	for to, want := range map[string]string{
		"file:///etc/passwd": "not HTTP", "gopher://x/": "not HTTP", "unix:///x": "not HTTP", "javascript:x": "not HTTP",
		"": "", "/": "more than 10 redirects", "?secret=hunter2": "more than 10 redirects", "http://": "no URL", "//": "", ":": "no URL", "http://hunter2:0/": "",
	} {
		url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Location"] = []string{to}
			w.WriteHeader(http.StatusFound)
		})
		if to != ":" { // net/http refuses what it cannot read, also where nobody follows it
			wantFailure(t, within(t, HTTP("x", url), 5*time.Second), "answered 302", "redirects are not followed")
		}
		err := within(t, HTTP("x", url, HTTPFollowRedirects()), 5*time.Second)
		wantFailure(t, err, url, want)
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "passwd")) {
			t.Errorf("%v shows where the server wanted to send the check", err)
		}
	}
}

// TestHTTPShowsNoQuery: not in any failure.
func TestHTTPShowsNoQuery(t *testing.T) {
	silent := listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	for _, host := range []string{
		closedPort(t), silent, listen(t, func(net.Conn) {}), "nohost.invalid",
		listen(t, func(conn net.Conn) { io.WriteString(conn, "garbage\r\n\r\n") }),
		strings.TrimPrefix(httpServer(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }), "http://"),
		strings.TrimPrefix(httpServer(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "9") }), "http://"),
	} {
		for _, scheme := range []string{"http", "https"} {
			err := within(t, HTTP("x", scheme+"://hunter2:hunter2@"+host+"/path?token=hunter2&x#hunter2", HTTPHeader("Authorization", "hunter2")), hang)
			wantFailure(t, err, scheme+"://"+host+"/path")
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "token")) {
				t.Errorf("%v shows what may be secret", err)
			}
		}
	}
	for _, url := range []string{"http://hunter2:hunter2@/?hunter2", "x://hunter2:hunter2@x/?hunter2", "http://hunter2:hunter2@x:0/?hunter2", "http://x/\x00?hunter2"} {
		if err := HTTP("x", url).(*httpCheck).Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestGRPCOddAnswers(t *testing.T) {
	type check = func(context.Context) (*healthpb.HealthCheckResponse, error)
	for want, answer := range map[string]check{
		"answered SERVICE_UNKNOWN, wanted SERVING": func(context.Context) (*healthpb.HealthCheckResponse, error) {
			return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}, nil
		},
		"answered 42, wanted SERVING": func(context.Context) (*healthpb.HealthCheckResponse, error) {
			return &healthpb.HealthCheckResponse{Status: 42}, nil
		},
		"answered UNKNOWN, wanted SERVING": func(context.Context) (*healthpb.HealthCheckResponse, error) {
			return &healthpb.HealthCheckResponse{}, nil
		},
		"Code(42)": func(context.Context) (*healthpb.HealthCheckResponse, error) { return nil, status.Error(42, "x") },
		"ResourceExhausted": func(context.Context) (*healthpb.HealthCheckResponse, error) {
			return nil, status.Error(codes.ResourceExhausted, strings.Repeat("\x00x\n", 3000))
		},
		"Unknown": func(context.Context) (*healthpb.HealthCheckResponse, error) { panic(http.ErrAbortHandler) },
	} {
		addr := listenGRPC(t, answer)
		err := within(t, GRPC("x", addr), 5*time.Second)
		wantFailure(t, err, addr, want)
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("the message has %d bytes", len(err.Error()))
		}
	}
}

func listenGRPC(t *testing.T, answer func(context.Context) (*healthpb.HealthCheckResponse, error)) string {
	return serveGRPC(t, "tcp", "127.0.0.1:0", func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, &fakeHealth{check: func(ctx context.Context) (r *healthpb.HealthCheckResponse, err error) {
			defer func() {
				if v := recover(); v != nil {
					err = status.Error(codes.Unknown, fmt.Sprint(v))
				}
			}()
			return answer(ctx)
		}})
	})
}

// TestGRPCUsesNoProxy runs itself again, because a process reads the proxies of its environment once.
func TestGRPCUsesNoProxy(t *testing.T) {
	const target = "backend.invalid:80"
	if os.Getenv("CHECKS_TEST_PROXY") != "" {
		_ = within(t, GRPC("x", target), 5*time.Second)
		// A channel that may use the proxy does.
		conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wantFailure(t, within(t, GRPCConn("x", conn, ""), 10*time.Second))
		return
	}
	asked := make(chan string, 100)
	proxy := listen(t, func(conn net.Conn) { // ends the connection
		head := make([]byte, 1000)
		n, _ := conn.Read(head)
		asked <- string(head[:n])
	})
	child := exec.Command(os.Args[0], "-test.run=^TestGRPCUsesNoProxy$")
	child.Env = append(os.Environ(), "CHECKS_TEST_PROXY=1", "HTTPS_PROXY=http://"+proxy, "https_proxy=http://"+proxy, "NO_PROXY=", "no_proxy=")
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other := false
	for len(asked) > 0 {
		request := <-asked
		if strings.Contains(request, "rollcall-checks") {
			t.Errorf("the check asked the proxy: %q", request)
		}
		other = other || strings.HasPrefix(request, "CONNECT "+target)
	}
	if !other {
		t.Error("the channel did not ask the proxy either: this test cannot fail")
	}
}

func TestCommandsOfBadManners(t *testing.T) {
	needsShell(t)
	wantLate(t, within(t, shell("exec >&- 2>&-; sleep 1000"), hang), "the command did not end")
	wantLate(t, within(t, shell("trap '' TERM INT HUP; while :; do sleep 1000; done"), hang), "did not end")
	wantOK(t, within(t, shell("head -c 1000000000 /dev/zero"), time.Minute))
	wantLate(t, within(t, shell("kill -STOP $$"), hang), "did not end")
	wantFailure(t, within(t, shell("printf '\\377\\000\\033[2J\\n\\n'; exit 3"), 5*time.Second), "exit code 3: [2J")
	wantFailure(t, within(t, shell("exec sh -c 'kill -SEGV $$'"), 5*time.Second), "ended by signal: segmentation fault")
}

// TestChecksNeedNoServerAndNoSystemLibrary: what only checks/host needs, only its users get.
func TestChecksNeedNoSystemLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for pkg := range strings.Lines(string(out)) {
		for _, not := range []string{"gopsutil", "prometheus", "sqlite", "raft", "bbolt", "cobra", "/client/view", "/client/healthserver", "/checks/host"} {
			if strings.Contains(pkg, not) {
				t.Errorf("client/checks draws in %s", pkg)
			}
		}
	}
}

// TestTTLFromManyGoroutines: the last word counts, in a Runner too, and nothing hangs.
func TestTTLFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ttl := NewTTL("worker", time.Second)
		n := &notes{}
		r := NewRunner(To(n))
		for _, service := range []string{"a", "b", ""} {
			if err := r.Add(service, ttl, Interval(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		runs.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for round := range 10 {
			var feeds sync.WaitGroup
			for i := range 20 {
				feeds.Go(func() {
					for range 50 {
						switch i % 4 {
						case 0:
							ttl.OK()
						case 1:
							ttl.Fail(fmt.Errorf("%d", i))
						case 2:
							ttl.Degraded(errBad)
						default:
							r.Remove("b", "worker")
							_ = r.Add("b", ttl)
						}
					}
				})
			}
			feeds.Wait()
			want := client.Serving
			if round%2 == 0 {
				ttl.OK()
			} else {
				want = client.NotServing
				ttl.Fail(errBad)
			}
			synctest.Wait()
			for _, result := range r.Results() {
				if result.Status != want {
					t.Errorf("round %d: service %q is %v, want %v: %+v", round, result.Service, result.Status, want, result)
				}
			}
		}
		ttl.OK()
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		for _, result := range r.Results() {
			if result.Status != client.NotServing || !strings.Contains(result.Error, "nothing was reported for 1s") {
				t.Errorf("after its time: %+v", result)
			}
		}
		cancel()
		runs.Wait()
		for _, service := range []string{"a", "b", ""} {
			r.Remove(service, "worker")
		}
		ttl.OK() // nobody listens
	})
}
