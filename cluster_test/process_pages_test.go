package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/tlsport"
)

var updatePages = flag.Bool("update-pages", false, "write into the pages what the commands of TestProcessPages printed, where it differs")

// TestProcessPages does what the pages say, line by line, and compares what is printed with what they show.
func TestProcessPages(t *testing.T) {
	needProcesses(t)
	t.Parallel()
	for _, p := range pages(t) {
		if !slices.ContainsFunc(p.blocks, func(b block) bool { return b.language == "console" && b.example == "" }) {
			continue
		}
		t.Run(filepath.Base(p.file), func(t *testing.T) {
			beside(t, ofProcesses)
			newTour(t, p).run()
		})
	}
}

// nightPage has a writer that goes on while its commands run.
const nightPage = "docs/night.md"

const (
	pagePort  = 7600 // the first port that pages name
	pagePorts = 60
	pageDir   = "/home/ann" // where the reader is
)

// tour is one page on its way.
type tour struct {
	t         *testing.T
	page      *page
	dir       string
	base      int // the port that stands for pagePort
	env       []string
	values    *bindings
	terminals map[string]*terminal
	config    client.Config
	client    *client.Client
	changed   []change
}

// change is output that replaces some lines of the page.
type change struct {
	from, to int
	text     string
}

// terminal is a command that goes on while others run.
type terminal struct {
	cmd    *exec.Cmd
	out    *syncBuffer
	taken  int // bytes that were compared
	exited chan struct{}
}

func newTour(t *testing.T, p *page) *tour {
	base := freePorts(t, pagePorts)
	tr := &tour{t: t, page: p, dir: t.TempDir(), base: base, values: newBindings(), terminals: map[string]*terminal{}}
	cfg := client.DefaultConfig()
	cfg.Endpoints = nil
	for i := range 3 {
		cfg.Endpoints = append(cfg.Endpoints, loopback(base+10*i))
	}
	tr.values.busy = p.file == nightPage
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ROLLCALL_") && !strings.HasPrefix(v, "PATH=") {
			tr.env = append(tr.env, v)
		}
	}
	tr.env = append(tr.env,
		"PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"ROLLCALL_ENDPOINTS="+strings.Join(cfg.Endpoints, ","),
		"ROLLCALL_BASE_PORT="+strconv.Itoa(base),
		"ROLLCALL_ACTOR=ann@laptop",
		"ROLLCALL_TIMEOUT=60s", // a machine that is busy with other tests takes longer than a reader's
	)
	cl, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr.config, tr.client = cfg, cl
	t.Cleanup(func() {
		tr.client.Close()
		for _, term := range tr.terminals {
			syscall.Kill(-term.cmd.Process.Pid, syscall.SIGKILL)
			<-term.exited
		}
		tr.killNodes()
	})
	return tr
}

// killNodes ends the nodes of "rollcall dev" that did not end with it: the page stopped them with SIGSTOP.
func (tr *tour) killNodes() {
	eventually(tr.t, "the ports to be free again", func(context.Context) bool {
		for i := range pagePorts {
			l, err := net.Listen("tcp", loopback(tr.base+i))
			if err == nil {
				l.Close()
				continue
			}
			files, _ := filepath.Glob(filepath.Join(tr.dir, "*", "n*.pid"))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return false
		}
		return true
	})
}

func (tr *tour) run() {
	for _, b := range tr.page.blocks {
		if b.language != "console" || b.example != "" {
			continue
		}
		for _, s := range b.steps {
			if tr.t.Failed() && !*updatePages {
				return // what follows would fail too
			}
			if b.terminal == "" {
				tr.step(s)
			} else {
				tr.terminalStep(b.terminal, s)
			}
		}
	}
	if *updatePages && len(tr.changed) > 0 {
		tr.update()
	}
}

const goExamples = "go -C examples"

// export is a command for the shell that all terminals share.
var export = regexp.MustCompile(`^export (\w+)="(.*)"$`)

// step runs a command to its end.
func (tr *tour) step(s step) {
	tr.settle()
	if m := export.FindStringSubmatch(s.command); m != nil {
		value := tr.ports(tr.values.command(m[2]))
		tr.env = append(tr.env, m[1]+"="+value)
		tr.secure(m[1], value)
		return
	}
	if program := strings.Fields(s.command)[0]; program == "curl" {
		if _, err := exec.LookPath(program); err != nil {
			tr.t.Logf("%s:%d: not run, as there is no %s here", tr.page.file, s.line+1, program)
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", tr.ports(tr.values.command(s.command)))
	out := &syncBuffer{}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = tr.dir, tr.env, out, out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		tr.t.Errorf("%s:%d: %s: it did not end:\n%s", tr.page.file, s.line+1, s.command, out)
		return
	}
	shown := tr.lines(s.from, s.to)
	// A command that fails says so, and the page shows it.
	if err != nil && !regexp.MustCompile(`(?m)^(rollcall|!|status|.*NOT_SERVING)`).MatchString(shown) && !*updatePages {
		tr.t.Errorf("%s:%d: %s: %v:\n%s", tr.page.file, s.line+1, s.command, err, out)
		return
	}
	tr.check(s, shown, tr.asInPage(out.String()))
}

// secure has the tour's own client connect as the page's commands do from here on.
func (tr *tour) secure(variable, value string) {
	file := filepath.Join(tr.dir, value)
	switch variable {
	case "ROLLCALL_CA":
		source, err := certs.Open(certs.Files{CA: []string{file}}, certs.Options{})
		if err != nil {
			tr.t.Fatal(err)
		}
		tr.config.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(tlsport.ClientCredentials(source))}
	case "ROLLCALL_TOKEN_FILE":
		tr.config.TokenFile = file
	default:
		return
	}
	cl, err := client.New(tr.config)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.client.Close()
	tr.client = cl
}

// terminalStep starts a command in a terminal, or compares what it printed since.
func (tr *tour) terminalStep(name string, s step) {
	term := tr.terminals[name]
	if s.command != "" {
		if term != nil {
			select {
			case <-term.exited:
			default:
				tr.t.Fatalf("%s:%d: terminal %s is busy", tr.page.file, s.line+1, name)
			}
		}
		term = &terminal{out: &syncBuffer{}, exited: make(chan struct{})}
		tr.terminals[name] = term
		term.cmd = exec.Command("sh", "-c", "exec env "+tr.ports(tr.values.command(s.command)))
		term.cmd.Dir, term.cmd.Env, term.cmd.Stdout, term.cmd.Stderr = tr.dir, tr.env, term.out, term.out
		term.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches the whole group
		if err := term.cmd.Start(); err != nil {
			tr.t.Fatal(err)
		}
		go func() {
			term.cmd.Wait()
			close(term.exited)
		}()
	}
	if term == nil {
		tr.t.Fatalf("%s:%d: nothing runs in terminal %s", tr.page.file, s.line+1, name)
	}
	from := s.from
	for i := from; i <= s.to; i++ {
		if i < s.to && tr.page.lines[i] != "^C" {
			continue
		}
		tr.expect(term, step{line: s.line, command: s.command, from: from, to: i}, i-from)
		if i == s.to {
			return
		}
		syscall.Kill(-term.cmd.Process.Pid, syscall.SIGINT)
		select {
		case <-term.exited:
		case <-time.After(patience):
			tr.t.Fatalf("%s:%d: Ctrl-C does not end what runs in terminal %s", tr.page.file, i+1, name)
		}
		tr.expect(term, step{line: i, from: i + 1, to: s.to}, -1)
		return
	}
}

// expect compares the next n lines of a terminal, all that are left if n is -1.
func (tr *tour) expect(term *terminal, s step, n int) {
	next := func() (text string, bytes int) {
		all := term.out.String()[term.taken:]
		if end := strings.LastIndexByte(all, '\n'); end >= 0 {
			all = all[:end+1]
		} else {
			all = ""
		}
		for line := range strings.Lines(all) {
			if n >= 0 && strings.Count(text, "\n") == n {
				break
			}
			bytes += len(line)
			if !logLine.MatchString(line) {
				text += line
			}
		}
		return text, bytes
	}
	patient := time.NewTimer(patience)
	defer patient.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ended := n < 0; ; {
		text, bytes := next()
		if ended || strings.Count(text, "\n") == n {
			term.taken += bytes
			tr.check(s, tr.lines(s.from, s.to), tr.asInPage(text))
			return
		}
		select {
		case <-tick.C:
		case <-term.exited:
			ended = true
		case <-patient.C:
			ended = true
		}
	}
}

// logLine is a line of a node's log, or one that "rollcall dev" prints only where its ports are not the
// default ones. Pages leave both out.
var logLine = regexp.MustCompile(`^(n\d \| |time=|  export ROLLCALL_ENDPOINTS=)`)

// settle waits as long as a reader does between two commands without knowing it: until all nodes that can be
// reached are up to date and the feature level has risen. Without a leader there is nothing to wait for.
func (tr *tour) settle() {
	if len(tr.terminals) == 0 {
		return
	}
	patient := time.NewTimer(5 * time.Second)
	defer patient.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		s, err := tr.client.ClusterStatus(ctx)
		cancel()
		if err != nil || !s.GetWritable() {
			return
		}
		same := s.GetLevel() == 0 || s.GetLevelHeld() == ""
		for _, m := range s.GetMembers() {
			if m.GetReady() && (m.GetRevision() != s.GetRevision() || m.GetLagEntries() != 0) {
				same = false
			}
		}
		if same {
			return
		}
		select {
		case <-tick.C:
		case <-patient.C:
			return
		}
	}
}

func (tr *tour) check(s step, shown, printed string) {
	tr.t.Helper()
	d := tr.values.compare(shown, printed)
	if d == "" {
		return
	}
	if *updatePages {
		shown = tr.values.inPage(printed)
		tr.values.compare(shown, printed) // what is new stands for itself
		tr.changed = append(tr.changed, change{s.from, s.to, shown})
		return
	}
	tr.t.Errorf("%s:%d: %s: %s", tr.page.file, s.line+1, s.command, d)
}

func (tr *tour) lines(from, to int) string {
	var b strings.Builder
	for _, l := range tr.page.lines[from:to] {
		b.WriteString(l + "\n")
	}
	return b.String()
}

var pagePortNumber = regexp.MustCompile(`\b76[0-5]\d\b`)

// ports puts this test's ports into a command, and the directory of the examples, which pages name as seen from the
// root of the repository.
func (tr *tour) ports(command string) string {
	if strings.HasPrefix(command, goExamples) {
		dir, err := filepath.Abs(filepath.Join("..", "examples"))
		if err != nil {
			tr.t.Fatal(err)
		}
		command = "go -C " + dir + strings.TrimPrefix(command, goExamples)
	}
	return pagePortNumber.ReplaceAllStringFunc(command, func(port string) string {
		n, _ := strconv.Atoi(port)
		return strconv.Itoa(n - pagePort + tr.base)
	})
}

// asInPage puts the page's ports, and its machine, into what was printed, and keeps the width of columns.
func (tr *tour) asInPage(printed string) string {
	if host, err := os.Hostname(); err == nil {
		printed = strings.ReplaceAll(printed, "agent@"+host, "agent@laptop")
	}
	printed = strings.ReplaceAll(printed, tr.dir, pageDir)
	return portPrinted.ReplaceAllStringFunc(printed, func(at string) string {
		m := portPrinted.FindStringSubmatch(at)
		n, _ := strconv.Atoi(m[2])
		if n < tr.base || n >= tr.base+pagePorts {
			return at
		}
		port := strconv.Itoa(n - tr.base + pagePort)
		if len(m[3]) > 1 {
			m[3] += strings.Repeat(" ", max(0, len(m[2])-len(port)))
		}
		return m[1] + port + m[3]
	})
}

var portPrinted = regexp.MustCompile(`\b(127\.0\.0\.1:|port )(\d+)\b( *)`)

// update writes what was printed into the page.
func (tr *tour) update() {
	lines := slices.Clone(tr.page.lines)
	for _, c := range slices.Backward(tr.changed) {
		var put []string
		if c.text != "" {
			put = strings.Split(strings.TrimSuffix(c.text, "\n"), "\n")
		}
		lines = slices.Replace(lines, c.from, c.to, put...)
	}
	if err := os.WriteFile(filepath.Join("..", tr.page.file), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		tr.t.Fatal(err)
	}
	fmt.Printf("%s: %d outputs changed\n", tr.page.file, len(tr.changed))
}
