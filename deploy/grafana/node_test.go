package grafana_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// TestANodeExportsWhatIsAskedFor runs the built program: three nodes with TLS and access, a rule, a change that is
// denied, and a client that does not believe the certificate. What the dashboard asks for is then in what they export,
// but for metrics whose page says when they have no sample.
func TestANodeExportsWhatIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "rollcall")
	build := exec.Command("go", "build", "-o", program, "./cmd/rollcall")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data := filepath.Join(dir, "data")
	base := freePorts(t, 30)
	cmd := exec.Command(program, "dev", "--auth", "--base-port", fmt.Sprint(base), "--data", data)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "ready after") {
	}
	go func() { // the program's output ends with it
		for lines.Scan() {
		}
	}()
	ca := filepath.Join(data, "tls", "ca.crt")
	rollcall := func(token bool, args ...string) error {
		args = append(args, "--endpoints", fmt.Sprintf("127.0.0.1:%d", base), "--ca", ca)
		if token {
			args = append(args, "--token-file", filepath.Join(data, "admin.token"))
		}
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := rollcall(true, "rule", "add", "pay-min", "pay/*", "--min", "1", "--reason", "test"); err != nil {
		t.Fatal(err)
	}
	if rollcall(false, "set", "pay/1", "serving", "--reason", "test") == nil {
		t.Fatal("a change without a token was not denied")
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", base), &tls.Config{}); err == nil {
		c.Close()
		t.Fatal("a client that knows no CA believed the node")
	}
	scrape := func() map[string]bool {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
		found := map[string]bool{}
		for i := range 3 {
			r, _ := http.NewRequest("GET", fmt.Sprintf("https://127.0.0.1:%d/metrics", base+10*i+2), nil)
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			for s := bufio.NewScanner(answer.Body); s.Scan(); {
				if m := regexp.MustCompile(`^\w+`).FindString(s.Text()); m != "" {
					found[m] = true
				}
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Fatalf("/metrics: %s", answer.Status)
			}
		}
		return found
	}
	all := families(t)
	var missing []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		found := scrape()
		missing = nil
		for _, name := range asked(t) {
			if !found[name] && !strings.Contains(all[name].meaning, "o sample") {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(missing) != 0 {
		t.Errorf("no node exports %s", missing)
	}
}

// asked are the names of all metrics that the dashboard asks for.
func asked(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, r := range rows {
		for _, p := range r.panels {
			for _, s := range p.series {
				e, err := parser.NewParser(parser.Options{}).ParseExpr(grafana.Replace(expand(s.expr)))
				if err != nil {
					t.Fatal(err)
				}
				parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
					if v, ok := n.(*parser.VectorSelector); ok {
						names = append(names, v.Name)
					}
					return nil
				})
			}
		}
	}
	return names
}

// freePorts finds n ports in a row that nobody listens at.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 50 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := first.Addr().(*net.TCPAddr).Port
		free := base+n < 65536
		first.Close()
		for p := base; free && p < base+n; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports in a row")
	return 0
}
