package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// virtualTerminal is a terminal whose screen and keys a test has.
type virtualTerminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File

	mu   sync.Mutex // guards what follows
	rows [][]rune
	x, y int
	all  bytes.Buffer // what was sent
}

func newVirtualTerminal(t *testing.T, columns, rows int) *virtualTerminal {
	t.Helper()
	t.Setenv("TERM", "xterm")
	os.Unsetenv("NO_COLOR")
	master, slave := openTerminal(t)
	v := &virtualTerminal{t: t, master: master, slave: slave}
	v.resize(columns, rows)
	var reading sync.WaitGroup
	reading.Go(v.read)
	t.Cleanup(func() {
		slave.Close() // ends the reading
		reading.Wait()
	})
	return v
}

func (v *virtualTerminal) resize(columns, rows int) {
	v.t.Helper()
	if err := unix.IoctlSetWinsize(int(v.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}); err != nil {
		v.t.Fatal(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rows = make([][]rune, rows)
}

func (v *virtualTerminal) read() {
	var rest []byte
	for buffer := make([]byte, 4096); ; {
		n, err := v.master.Read(buffer)
		if err != nil {
			return
		}
		v.mu.Lock()
		v.all.Write(buffer[:n])
		rest = v.show(append(rest, buffer[:n]...))
		v.mu.Unlock()
	}
}

// show does what a terminal does with what top sends, and returns what is not complete.
func (v *virtualTerminal) show(b []byte) []byte {
	for len(b) > 0 {
		if b[0] == 0x1b {
			end := bytes.IndexFunc(b, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' })
			if end < 0 {
				return b
			}
			v.control(string(b[2:end]), b[end])
			b = b[end+1:]
			continue
		}
		r, size := rune(b[0]), 1
		if r >= 0x80 {
			if len(b) < 3 {
				return b
			}
			decoded := []rune(string(b[:min(len(b), 4)]))
			r, size = decoded[0], len(string(decoded[0]))
		}
		if v.y < len(v.rows) && r >= ' ' {
			row := v.rows[v.y]
			for len(row) <= v.x {
				row = append(row, ' ')
			}
			row[v.x] = r
			v.rows[v.y] = row
			v.x++
		}
		b = b[size:]
	}
	return nil
}

func (v *virtualTerminal) control(parameters string, command byte) {
	switch command {
	case 'H':
		y, x, _ := strings.Cut(parameters, ";")
		v.y, _ = strconv.Atoi(y)
		v.x, _ = strconv.Atoi(x)
		v.y, v.x = v.y-1, v.x-1
	case 'K':
		if v.y < len(v.rows) {
			v.rows[v.y] = v.rows[v.y][:min(v.x, len(v.rows[v.y]))]
		}
	case 'J':
		clear(v.rows)
	}
}

func (v *virtualTerminal) screen() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var lines []string
	for _, row := range v.rows {
		lines = append(lines, strings.TrimRight(string(row), " "))
	}
	return strings.Join(lines, "\n")
}

// sentToTheEnd waits until the terminal was given back as it was.
func (v *virtualTerminal) sentToTheEnd() string {
	v.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		v.mu.Lock()
		all := v.all.String()
		v.mu.Unlock()
		if strings.HasSuffix(all, "\x1b[?7h\x1b[?25h\x1b[?1049l") {
			return all
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("what was sent ends with %q", all[max(0, len(all)-100):])
		}
	}
}

// see waits until the screen shows all of these.
func (v *virtualTerminal) see(texts ...string) {
	v.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		screen := v.screen()
		missing := slices.IndexFunc(texts, func(s string) bool { return !strings.Contains(screen, s) })
		switch {
		case missing < 0:
			return
		case time.Now().After(deadline):
			v.t.Fatalf("no %q on\n%s", texts[missing], screen)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (v *virtualTerminal) press(keys string) {
	v.t.Helper()
	if _, err := v.master.WriteString(keys); err != nil {
		v.t.Fatal(err)
	}
}

// runTop runs top on the terminal. The function that it returns waits for its end.
func (v *virtualTerminal) runTop(ctx context.Context, args ...string) (ended func() (code int, stderr string)) {
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, append([]string{"top"}, args...), v.slave, v.slave, &stderr) }()
	return func() (int, string) {
		v.t.Helper()
		select {
		case c := <-code:
			return c, stderr.String()
		case <-time.After(20 * time.Second):
			v.t.Fatalf("top goes on\n%s", v.screen())
		}
		return 0, ""
	}
}

func TestTopFollowsTheRegistry(t *testing.T) {
	f, _ := shop(t)
	f.setStatus(sampleStatus())
	v := newVirtualTerminal(t, 110, 24)
	before, err := term.GetState(int(v.slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ended := v.runTop(context.Background())
	v.see("● live from "+f.address, "3 services  ● 3 SERVING  ▲ 0 NOT_SERVING", "> shop/", "NOT SERVING: none", "! n3: connection refused", "LAST EVENTS")
	f.mu.Lock()
	f.put("shop/cart", notServing, "disk full", "bob")
	f.mu.Unlock()
	v.see("● 2 SERVING  ▲ 1 NOT_SERVING", "shop/cart  ▲ NOT_SERVING  bob  disk full", "SERVING→NOT_SERVING")
	v.press("\r")
	v.see("GROUPS in shop/", "> cart  ▲ NOT_SERVING", "  pay/")
	v.press("\x1b[B\r")
	v.see("GROUPS in shop/pay/", "2 services")
	v.press("\x7f\x7f/cart\r")
	v.see("filter: cart", "1 service ")
	v.resize(60, 12)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	v.see("filter: cart", "> shop/")
	if lines := strings.Split(v.screen(), "\n"); len([]rune(lines[0])) > 60 || !strings.HasPrefix(lines[11], "arrows: move") {
		t.Errorf("after a change of the size:\n%s", v.screen())
	}
	v.press("q")
	if code, stderr := ended(); code != 0 || stderr != "" {
		t.Errorf("%d: %s", code, stderr)
	}
	if after, err := term.GetState(int(v.slave.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v, before %v; %v", after, before, err)
	}
	if all := v.sentToTheEnd(); !strings.Contains(all, "\x1b[1;31m") {
		t.Error("no colours")
	}
}

func TestTopEndsAsItIsAskedTo(t *testing.T) {
	for name, end := range map[string]func(v *virtualTerminal, cancel context.CancelFunc){
		"control C":               func(v *virtualTerminal, _ context.CancelFunc) { v.press("\x03") },
		"a signal":                func(_ *virtualTerminal, cancel context.CancelFunc) { cancel() },
		"a filter, and control C": func(v *virtualTerminal, _ context.CancelFunc) { v.press("/a\x03") },
	} {
		t.Run(name, func(t *testing.T) {
			shop(t)
			v := newVirtualTerminal(t, 100, 20)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended := v.runTop(ctx, "--color", "never")
			v.see("● live", "> shop/")
			end(v, cancel)
			if code, stderr := ended(); code != 0 || stderr != "" {
				t.Errorf("%d: %s", code, stderr)
			}
			if all := v.sentToTheEnd(); strings.Contains(all, "\x1b[1;31m") || strings.Contains(all, "\x1b[32m") {
				t.Error("colours, with --color never")
			}
		})
	}
}

// mortalListener closes all its connections at once.
type mortalListener struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (l *mortalListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, conn)
		l.mu.Unlock()
	}
	return conn, err
}

func (l *mortalListener) die() {
	l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

// A node that goes away is followed by another one. Until one answers, the picture stays, and says since when it is old.
func TestTopOutlivesItsNode(t *testing.T) {
	listen := func() *mortalListener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return &mortalListener{Listener: l}
	}
	first, second := listen(), listen()
	one, other := serveFake(t, first), serveFake(t, second)
	for _, f := range []*fake{one, other} {
		f.put("shop/cart", notServing, "disk full", "bob")
	}
	t.Setenv("ROLLCALL_ENDPOINTS", one.address+","+other.address)
	v := newVirtualTerminal(t, 120, 20)
	ended := v.runTop(context.Background())
	v.see("● live from "+one.address, "shop/cart  ▲ NOT_SERVING")
	first.die()
	v.see("● live from "+other.address, "shop/cart  ▲ NOT_SERVING")
	second.die()
	v.see("▲ old: no node has told anything for ", "still trying", "shop/cart  ▲ NOT_SERVING", "! no endpoint answers: tried ")
	v.press("q")
	if code, stderr := ended(); code != 0 || stderr != "" {
		t.Errorf("%d: %s", code, stderr)
	}
}

func TestTopSaysWhyItCannotDraw(t *testing.T) {
	shop(t)
	t.Setenv("ROLLCALL_ENDPOINTS", closedPort())
	v := newVirtualTerminal(t, 100, 20)
	code, stderr := v.runTop(context.Background())()
	if code != exitNotDone || !strings.Contains(stderr, "rollcall: no endpoint answers: tried") {
		t.Errorf("no node: %d, %q", code, stderr)
	}
	v.sentToTheEnd()
}
