package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/internal/tlstest"
)

// secured is a cluster with TLS where access is enforced and strangers may do nothing, with the files of who may.
type secured struct {
	*processes
	ca     string
	admin  certs.Files
	tokens map[string]string // role: file
	bearer string            // file that holds the text of the viewer's token alone, as Prometheus wants it
}

// startSecured starts a cluster whose administrator has a certificate, and makes a token of each built-in role.
func startSecured(t *testing.T, args ...string) *secured {
	t.Helper()
	ca := tlstest.NewCA(t, "ca")
	admin := ca.Issue([]string{"ops"})
	c, _ := secureProcesses(t, processOptions{args: append([]string{"--admin-identity", "cert:ops"}, args...)}, "required", ca)
	c.start()
	c.waitReady()
	s := &secured{processes: c, ca: ca.File, admin: admin, tokens: map[string]string{}}
	dir := t.TempDir()
	// The feature level rises a moment after the start.
	eventually(t, "access to be enforced", func(context.Context) bool {
		_, _, code := s.asAdmin("auth", "enable", "--anonymous", "none", "--reason", "test")
		return code == 0
	})
	for _, role := range []string{"viewer", "reporter", "operator", "admin"} {
		file := filepath.Join(dir, role+".token")
		s.mustAdmin("token", "create", "of-"+role, "--role", role, "--on", "*", "--out", file)
		s.tokens[role] = file
	}
	s.bearer = filepath.Join(dir, "bearer")
	if err := os.WriteFile(s.bearer, []byte(s.token("viewer")), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *secured) token(role string) string {
	text, err := os.ReadFile(s.tokens[role])
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// asAdmin runs a command with the administrator's certificate.
func (s *secured) asAdmin(args ...string) (stdout, stderr string, code int) {
	return s.rollcall(append(args, "--ca", s.ca, "--cert", s.admin.Cert, "--key", s.admin.Key)...)
}

func (s *secured) mustAdmin(args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.asAdmin(args...)
	if code != 0 {
		s.t.Fatalf("%v: exit %d: %s", args, code, stderr)
	}
	return stdout
}

// as runs a command with the token of a role.
func (s *secured) as(role string, args ...string) (stdout, stderr string, code int) {
	return s.rollcall(append(args, "--ca", s.ca, "--token-file", s.tokens[role])...)
}

// stockTool returns where a program is, or skips the test.
func stockTool(t *testing.T, name string) string {
	t.Helper()
	needProcesses(t)
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not on the PATH; make stock-clients puts it there")
	}
	return path
}

// TestProcessStockSecureGrpcurl reads and writes as docs/security.md says, with a token.
func TestProcessStockSecureGrpcurl(t *testing.T) {
	grpcurl := stockTool(t, "grpcurl")
	s := startSecured(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run := func(role string, args ...string) string {
		flags := []string{"-cacert", s.ca}
		if role != "" {
			flags = append(flags, "-H", "authorization: Bearer "+s.token(role))
		}
		out, _ := exec.CommandContext(ctx, grpcurl, append(flags, args...)...).CombinedOutput()
		return string(out)
	}
	for _, tc := range []struct{ role, data, method, want string }{
		{"reporter", `{"service": "payments", "status": "SERVING", "reason": "by hand"}`, "rollcall.v1.Admin/SetServingStatus", `"changed": true`},
		{"viewer", `{"service": "payments"}`, "grpc.health.v1.Health/Check", `"status": "SERVING"`},
		{"viewer", `{"service": "payments"}`, "rollcall.v1.Registry/GetService", "token:of-reporter"},
		{"viewer", `{"service": "payments", "status": "SERVING"}`, "rollcall.v1.Admin/SetServingStatus", "PermissionDenied"},
		{"viewer", `{}`, "rollcall.v1.Access/WhoAmI", "token:of-viewer"},
		{"", `{"service": "payments"}`, "grpc.health.v1.Health/Check", "Unauthenticated"},
		{"", `{"service": "payments", "status": "SERVING"}`, "rollcall.v1.Admin/SetServingStatus", "PermissionDenied"},
	} {
		if out := run(tc.role, "-d", tc.data, s.nodes[0].api, tc.method); !strings.Contains(out, tc.want) {
			t.Errorf("grpcurl as %q %s %s: want %s in\n%s", tc.role, tc.method, tc.data, tc.want, out)
		}
	}
	if out := run("viewer", "-max-time", "2", "-d", `{"service": "payments"}`, s.nodes[1].api, "grpc.health.v1.Health/Watch"); !strings.Contains(out, "SERVING") || !strings.Contains(out, "DeadlineExceeded") {
		t.Errorf("grpcurl Watch: %s", out)
	}
}

// TestProcessStockSecureProbe is grpc_health_probe with TLS and a token.
func TestProcessStockSecureProbe(t *testing.T) {
	probe := stockTool(t, "grpc-health-probe")
	s := startSecured(t)
	if _, stderr, code := s.as("reporter", "set", "payments", "serving"); code != 0 {
		t.Fatal(stderr)
	}
	for _, tc := range []struct {
		role, service string
		code          int
	}{
		{"viewer", "payments", 0}, {"viewer", "nobody", 3}, {"viewer", "", 0}, {"", "payments", 3},
	} {
		args := []string{"-addr", s.nodes[0].api, "-tls", "-tls-ca-cert", s.ca, "-service", tc.service, "-connect-timeout", "10s", "-rpc-timeout", "10s"}
		if tc.role != "" {
			args = append(args, "-rpc-header", "authorization: Bearer "+s.token(tc.role))
		}
		eventually(t, fmt.Sprintf("grpc-health-probe as %q of %q to exit with %d", tc.role, tc.service, tc.code), func(ctx context.Context) bool {
			cmd := exec.CommandContext(ctx, probe, args...)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != tc.code {
				t.Logf("exit %d: %s", cmd.ProcessState.ExitCode(), out)
				time.Sleep(100 * time.Millisecond)
				return false
			}
			return true
		})
	}
}

// TestProcessStockSecurePrometheus has a real Prometheus scrape the nodes, one job with the viewer's token and one with
// none, and promtool look at what they export.
func TestProcessStockSecurePrometheus(t *testing.T) {
	prometheus, promtool := stockTool(t, "prometheus"), stockTool(t, "promtool")
	s := startSecured(t)
	dir, listen := t.TempDir(), freePort(t)
	var targets []string
	for _, p := range s.nodes {
		targets = append(targets, "'"+p.http+"'")
	}
	job := func(name, credentials string) string {
		return fmt.Sprintf("- job_name: %s\n  scheme: https\n  tls_config: {ca_file: %s}\n%s  static_configs: [{targets: [%s]}]\n", name, s.ca, credentials, strings.Join(targets, ", "))
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 1s}\nscrape_configs:\n" +
		job("viewer", "  authorization: {credentials_file: "+s.tokens["viewer"]+"}\n") + job("nobody", "")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(prometheus, "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", listen)
	log := &syncBuffer{}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	query := func(ctx context.Context, expression string) string {
		out, _ := exec.CommandContext(ctx, promtool, "query", "instant", "http://"+listen, expression).CombinedOutput()
		return string(out)
	}
	for expression, want := range map[string]string{
		`count(up{job="nobody"} == 0)`:          "=> 3 @",
		`sum(up{job="viewer"})`:                 "=> 3 @",
		`sum(rollcall_is_leader{job="viewer"})`: "=> 1 @",
	} {
		eventually(t, expression, func(ctx context.Context) bool { return strings.Contains(query(ctx, expression), want) })
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
