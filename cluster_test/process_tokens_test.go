package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestProcessTokens has the agent, a Go client, commands and stock clients use tokens that are exchanged and revoked,
// with one cluster where access is enforced.
func TestProcessTokens(t *testing.T) {
	beside(t, ofProcesses)
	adminFile := filepath.Join(t.TempDir(), "admin-token")
	first := accesstoken.New()
	must(t, os.WriteFile(adminFile, []byte(first.Text()), 0o600))
	s := startSecured(t, "--admin-token-file", adminFile)
	part := func(t *testing.T, name string, parallel bool, run func(*testing.T, *secured)) {
		t.Run(name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			begun := time.Now()
			run(t, s.in(t))
			t.Logf("took %s", time.Since(begun).Round(time.Millisecond))
		})
	}
	t.Run("Whole", func(t *testing.T) {
		part(t, "Agent", true, agentsToken)
		part(t, "Commands", true, commandsWithTokens)
		part(t, "AdminTokenFile", true, func(t *testing.T, s *secured) { adminTokenExchanged(t, s, adminFile, first) })
	})
	part(t, "Client", false, clientsToken)
	part(t, "CutOff", false, cutOffNode)
}

// in is the same cluster in a part of a test.
func (s *secured) in(t *testing.T) *secured {
	part := *s
	part.processes = &processes{t: t, nodes: s.nodes}
	return &part
}

// newToken makes a token and returns its text.
func (s *secured) newToken(name, role, on string) string {
	s.t.Helper()
	return strings.TrimSpace(s.mustAdmin("token", "create", name, "--role", role, "--on", on, "--out", "-"))
}

// exchange puts a token into a file, which no reader finds empty.
func exchange(t *testing.T, file, text string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(text+"\n"), 0o600))
	must(t, os.Rename(file+".new", file))
}

// owns waits until a node says of one of its own names what is wanted. Strangers are told nothing here.
func (s *secured) owns(name string, want client.Status, nodes ...*process) (which *process) {
	s.t.Helper()
	text := s.token("viewer")
	eventually(s.t, fmt.Sprintf("a node to be %s %q", want, name), func(ctx context.Context) bool {
		for _, p := range nodes {
			r, err := healthpb.NewHealthClient(p.dial()).Check(withToken(ctx, text), &healthpb.HealthCheckRequest{Service: name})
			if err == nil && r.GetStatus() == want {
				which = p
				return true
			}
		}
		return false
	})
	return which
}

// clientOf is a client with the token of a file, which asks these nodes in this order.
func (s *secured) clientOf(file string, nodes ...*process) *client.Client {
	s.t.Helper()
	cfg := client.DefaultConfig()
	cfg.Endpoints, cfg.KeepOrder, cfg.TokenFile = (&processes{nodes: nodes}).endpoints(), true, file
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(s.nodes[0].creds)}
	cl, err := client.New(cfg)
	must(s.t, err)
	s.t.Cleanup(func() { cl.Close() })
	return cl
}

// agentsToken: an agent reports as the holder of its token. While the registry refuses the token, the agent says why and
// answers its local clients as before; another token in the file is enough to go on.
func agentsToken(t *testing.T, s *secured) {
	file := filepath.Join(t.TempDir(), "token")
	first := s.newToken("agent-1", "reporter", "shop/*")
	exchange(t, file, first)
	m := &watchedMachine{t: t, c: s.processes, cl: s.clientOf(s.tokens["admin"], s.nodes...), program: newProgram(t)}
	m.agent = newAgent(t, s.endpoints(), agentInstance, agentSettings)
	m.agent.head = strings.Replace(m.agent.head, "] }\ninstance", fmt.Sprintf("], ca: %s, token_file: %s }\ninstance", s.ca, file), 1)
	m.agent.write(m.checkout())
	m.agent.start()
	by := func(identity string) {
		t.Helper()
		eventually(t, "a report of "+identity, func(ctx context.Context) bool {
			got, err := m.cl.Get(ctx, "shop/checkout/"+agentInstance)
			r := got.GetService().GetReport()
			return err == nil && r.GetStatus() == serving && r.GetActor().GetName() == identity && r.GetActor().GetVerified()
		})
	}
	by("token:agent-1")
	m.agent.shows("shop/checkout", serving)
	local := m.agent.localClient("shop/checkout")
	s.mustAdmin("token", "revoke", "agent-1")
	says := func(path, text string) {
		t.Helper()
		eventually(t, path+" of the agent to say "+text, func(context.Context) bool {
			_, body := m.agent.get(path)
			return strings.Contains(body, text)
		})
	}
	says("/", "refuses this agent's reports")
	says("/", client.ReasonTokenRevoked)
	says("/metrics", `rollcall_agent_reports_refused{reason="TOKEN_REVOKED"} 1`)
	m.reported("shop/checkout", notServing) // its lease is over
	second := s.newToken("agent-2", "reporter", "shop/*")
	exchange(t, file, second)
	by("token:agent-2")
	says("/metrics", `rollcall_agent_reports_refused{reason=""} 0`)
	if _, body := m.agent.get("/"); strings.Contains(body, "refuses") {
		t.Errorf("the page still says: %s", body)
	}
	local.unmoved(t)
	// Overrides reach it again.
	m.override("shop/checkout/*", "with another token")
	m.agent.shows("shop/checkout", notServing)
	m.agent.stop()
	for _, token := range []string{first, second} {
		_, secret, _ := strings.Cut(strings.TrimPrefix(token, "rct_"), "_")
		if secret == "" || strings.Contains(m.agent.log.String(), secret) {
			t.Error("the log of the agent holds a token")
		}
	}
}

// commandsWithTokens: each command does what the role of its token allows, and says what is missing where it does not.
func commandsWithTokens(t *testing.T, s *secured) {
	if _, stderr, code := s.as("reporter", "set", "cmd/cart", "serving"); code != 0 {
		t.Fatal(stderr)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	for _, tc := range []struct {
		role   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"viewer", []string{"probe", "cmd/cart"}, 0, "", ""},
		{"viewer", []string{"probe", "--addr", s.nodes[1].api, "cmd/cart"}, 0, "", ""},
		{"viewer", []string{"wait", "cmd/cart", "--timeout", "20s"}, 0, "", ""},
		{"viewer", []string{"bench", "check", "cmd/cart", "--duration", "300ms", "--callers", "4"}, 0, "", ""},
		{"reporter", []string{"bench", "write", "--duration", "300ms", "--writers", "4", "--services", "8"}, 0, "", ""},
		{"reporter", []string{"bench", "watch", "--watches", "30", "--connections", "3", "--flips", "3"}, 0, "", ""},
		{"viewer", []string{"bench", "write", "--duration", "300ms", "--writers", "4", "--services", "8"}, 1, "", "token:of-viewer"},
		{"viewer", []string{"snapshot", "save", saved}, 1, "", "token:of-viewer"},
		{"admin", []string{"snapshot", "save", saved}, 0, "", ""},
	} {
		what := fmt.Sprintf("%s: %v", tc.role, tc.args)
		stdout, stderr, code := s.as(tc.role, tc.args...)
		if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%s: exit %d\n%s%s", what, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(saved); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"probe", "cmd/cart"}, {"wait", "cmd/cart", "--timeout", "20s"}, {"bench", "check", "cmd/cart", "--duration", "1s"}} {
		stdout, stderr, code := s.rollcall(append(args, "--ca", s.ca)...)
		if code == 0 || code == 2 || !strings.Contains(stderr, "token") {
			t.Errorf("nobody: %v: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
	commandWatch(t, s)
}

// commandWatch: "rollcall watch" ends with words when its token is revoked.
func commandWatch(t *testing.T, s *secured) {
	file := filepath.Join(t.TempDir(), "token")
	exchange(t, file, s.newToken("watcher", "viewer", "cmd/*"))
	cmd := exec.Command(binary, "watch", "--prefix", "cmd/", "--ca", s.ca, "--token-file", file, "--endpoints", strings.Join(s.endpoints(), ","))
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "watch to show cmd/cart", func(context.Context) bool { return strings.Contains(out.String(), "cmd/cart") })
	if _, stderr, code := s.as("reporter", "set", "cmd/late", "serving"); code != 0 {
		t.Error(stderr)
	}
	eventually(t, "watch to show cmd/late", func(context.Context) bool { return strings.Contains(out.String(), "cmd/late") })
	s.mustAdmin("token", "revoke", "watcher")
	select {
	case err := <-ended:
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(out.String(), "revoked") {
			t.Errorf("watch ended with %v:\n%s", err, out)
		}
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Errorf("watch goes on with a token that is revoked:\n%s", out)
		<-ended
	}
}

// adminTokenExchanged: at SIGHUP the token that is in the file now is an administrator's, on the node that was told, and
// the one before is nobody's.
func adminTokenExchanged(t *testing.T, s *secured, file string, first accesstoken.Token) {
	told, other := s.nodes[0], s.nodes[1]
	who := func(p *process, token accesstoken.Token) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(withToken(t.Context(), token.Text()), patience)
		defer cancel()
		r, err := rollcallv1.NewAccessClient(p.dial()).WhoAmI(ctx, &rollcallv1.WhoAmIRequest{})
		if err != nil {
			return status.Code(err).String()
		}
		return r.GetIdentity()
	}
	write := func(p *process, token accesstoken.Token) codes.Code {
		ctx, cancel := context.WithTimeout(withToken(t.Context(), token.Text()), patience)
		defer cancel()
		_, err := rollcallv1.NewAdminClient(p.dial()).SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{Service: "hangup/a", Status: serving.Enum()})
		return status.Code(err)
	}
	hangup := func(says string) {
		t.Helper()
		before := strings.Count(told.log.String(), says)
		told.signal(syscall.SIGHUP)
		eventually(t, says, func(context.Context) bool { return strings.Count(told.log.String(), says) > before })
	}
	want := func(p *process, token accesstoken.Token, identity string, code codes.Code) {
		t.Helper()
		if got := who(p, token); got != identity {
			t.Errorf("%s says %s, want %s", p.name, got, identity)
		}
		if got := write(p, token); got != code {
			t.Errorf("a write through %s: %s, want %s", p.name, got, code)
		}
	}
	const admin, nobody = "static:admin-token", "Unauthenticated"
	second := accesstoken.New()
	want(told, first, admin, codes.OK)
	want(told, second, nobody, codes.Unauthenticated)
	exchange(t, file, second.Text())
	want(told, first, admin, codes.OK) // no SIGHUP yet
	hangup("the file of the administrator's token is read again")
	want(told, second, admin, codes.OK)
	want(told, first, nobody, codes.Unauthenticated)
	want(other, first, admin, codes.OK)
	exchange(t, file, "no token")
	hangup("the file of the administrator's token is wrong")
	want(told, second, admin, codes.OK)
	exchange(t, file, second.Text()) // a node does not start with a file that is wrong
}

// clientsToken: a Go client whose token is exchanged in its file, with the old one revoked in the same moment, and whose
// node is killed, fails no call. Its lease is another identity's then and is made anew, and what it reports stays SERVING.
func clientsToken(t *testing.T, s *secured) {
	file := filepath.Join(t.TempDir(), "token")
	rotation := 1
	name := func() string { return fmt.Sprintf("client-%d", rotation) }
	exchange(t, file, s.newToken(name(), "reporter", "app/*"))
	rotate := func() {
		t.Helper()
		old := name()
		rotation++
		exchange(t, file, s.newToken(name(), "reporter", "app/*"))
		s.mustAdmin("token", "revoke", old)
	}
	leader := s.owns(rollcallv1.OwnLeader, serving, s.nodes...)
	cl := s.clientOf(file, append([]*process{leader}, s.others(leader)...)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	// Leases: one that a Lease keeps, and one that KeepAlive renews.
	const ttl = 5 * time.Second
	kept, err := cl.KeepLease(client.LeaseOptions{TTL: ttl}, client.KeepOptions{OnEvent: func(e client.LeaseEvent) {
		if e.Type == client.LeaseFailed {
			t.Errorf("the lease: %+v", e)
		}
	}})
	must(t, err)
	defer func() {
		cancel()
		all.Wait() // else the watch sees how it ends
		_ = kept.Close(context.WithoutCancel(ctx))
	}()
	must(t, kept.Report(ctx, "app/kept", client.Serving, "up"))

	// Writes, reads and a watch.
	var read, seen atomic.Int64
	var written [2]atomic.Int64
	again := func(count *atomic.Int64, call func() error) {
		all.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := call(); err != nil && ctx.Err() == nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				count.Add(1)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	within := func(call func(ctx context.Context) error) func() error {
		return func() error {
			attempt, done := context.WithTimeout(ctx, patience)
			defer done()
			return call(attempt)
		}
	}
	for i := range written {
		n := 0
		again(&written[i], within(func(ctx context.Context) error {
			n++
			_, err := cl.Set(ctx, fmt.Sprintf("app/w%d", i), client.Serving, client.WriteOptions{Reason: fmt.Sprint(n)})
			return err
		}))
	}
	again(&read, within(func(ctx context.Context) error { _, err := cl.Check(ctx, "app/kept"); return err }))
	all.Go(func() {
		for u, err := range cl.WatchServices(ctx, "app/") {
			if err != nil && ctx.Err() == nil {
				t.Errorf("WatchServices: %v", err)
			}
			for _, r := range u.Services {
				if r.GetService() == "app/kept" && r.GetStatus() != serving {
					t.Errorf("what is kept: %v", r)
				}
				if strings.HasPrefix(r.GetService(), "app/w") {
					seen.Add(1)
				}
			}
		}
	})
	goesOn := func(when string) {
		t.Helper()
		for what, count := range map[string]*atomic.Int64{"a writer": &written[0], "another writer": &written[1], "reads": &read, "the watch": &seen} {
			from := count.Load()
			eventually(t, when+": "+what+" to go on", func(context.Context) bool { return t.Failed() || count.Load() >= from+20 })
		}
	}
	goesOn("at first")
	rotate()
	goesOn("with another token")
	leader.kill()
	rotate()
	goesOn("with another token while a node is away")
	leader.start()
	s.owns(rollcallv1.OwnReady, serving, leader)
	rotate()
	rotated := time.Now()
	goesOn("with a node that is back")
	eventually(t, "a renewal with the last token", func(context.Context) bool { return t.Failed() || kept.Until().After(rotated.Add(ttl)) })
	for _, service := range []string{"app/kept"} {
		r, err := cl.Get(ctx, service)
		if err != nil || r.GetService().GetReport().GetStatus() != serving || r.GetService().GetReport().GetLeaseId() == "" {
			t.Errorf("%s: %v %v", service, r, err)
		}
	}
	if got, err := cl.WhoAmI(ctx); err != nil || got.GetIdentity() != "token:"+name() {
		t.Errorf("the client is %v %v", got.GetIdentity(), err)
	}
	t.Logf("%d writes, %d reads, %d updates", written[0].Load()+written[1].Load(), read.Load(), seen.Load())
}

// cutOffNode: a node without the others answers reads by the rights that it knew, and writes nothing.
func cutOffNode(t *testing.T, s *secured) {
	allowed := s.newToken("cut-off", "reporter", "cut/*")
	if _, stderr, code := s.as("reporter", "set", "cut/a=serving", "elsewhere/a=serving"); code != 0 {
		t.Fatal(stderr)
	}
	alone := s.nodes[2]
	health, registry := healthpb.NewHealthClient(alone.dial()), rollcallv1.NewRegistryClient(alone.dial())
	check := func(ctx context.Context, text, service string) codes.Code {
		if text != "" {
			ctx = withToken(ctx, text)
		}
		_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		return status.Code(err)
	}
	eventually(t, "the node to know all of it", func(ctx context.Context) bool {
		return check(ctx, allowed, "cut/a") == codes.OK && check(ctx, s.token("viewer"), "elsewhere/a") == codes.OK
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := s.token("viewer")
	watch, err := health.Watch(withToken(ctx, allowed), &healthpb.HealthCheckRequest{Service: "cut/a"})
	must(t, err)
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.nodes[:2] {
		p.signal(syscall.SIGSTOP)
		defer p.signal(syscall.SIGCONT)
	}
	eventually(t, "the node to notice that there is no leader", func(ctx context.Context) bool {
		ctx = metadata.AppendToOutgoingContext(ctx, "rollcall-require-leader", "true")
		return check(ctx, allowed, "cut/a") == codes.Unavailable
	})
	for _, tc := range []struct {
		text, service string
		want          codes.Code
	}{
		{allowed, "cut/a", codes.OK}, {allowed, "elsewhere/a", codes.PermissionDenied}, {allowed, "elsewhere/none", codes.PermissionDenied},
		{before, "elsewhere/a", codes.OK}, {"", "cut/a", codes.Unauthenticated}, {accesstoken.New().Text(), "cut/a", codes.Unauthenticated},
	} {
		if got := check(ctx, tc.text, tc.service); got != tc.want {
			t.Errorf("Check of %s: %s, want %s", tc.service, got, tc.want)
		}
	}
	var header metadata.MD
	list, err := registry.ListServices(withToken(ctx, allowed), &rollcallv1.ListServicesRequest{}, grpc.Header(&header))
	if err != nil || len(list.GetServices()) != 1 || list.GetServices()[0].GetService() != "cut/a" || len(header.Get("rollcall-filtered")) != 1 {
		t.Errorf("a list: %v %v %v", list, header, err)
	}
	var writes sync.WaitGroup
	for _, text := range []string{allowed, s.token("admin"), s.token("viewer")} {
		writes.Go(func() {
			attempt, done := context.WithTimeout(withToken(ctx, text), time.Second)
			defer done()
			_, err := rollcallv1.NewAdminClient(alone.dial()).SetServingStatus(attempt, &rollcallv1.SetServingStatusRequest{Service: "cut/b", Status: serving.Enum()})
			if err == nil {
				t.Error("a node that is cut off writes")
			}
		})
	}
	writes.Wait()
	for _, p := range s.nodes[:2] {
		p.signal(syscall.SIGCONT)
	}
	s.owns(rollcallv1.OwnReady, serving, alone)
	received := make(chan error, 1)
	go func() { _, err := watch.Recv(); received <- err }()
	if _, stderr, code := s.as("reporter", "set", "cut/a", "not_serving"); code != 0 {
		t.Error(stderr)
	}
	if err := <-received; err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("its watch ended with %v", err)
	}
}
