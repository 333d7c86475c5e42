package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestProcessInstall types the commands of docs/install.md that lead from empty machines to a cluster with an agent.
// Machines are directories and addresses of this machine. What it plays: ssh, scp, the files of the package, and
// systemd, which reads the units. What it does not: dpkg (deploy/package has a test for that), users and hardening.
func TestProcessInstall(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	commands := installCommands(t)
	if len(commands) > 10 {
		t.Errorf("the page has %d commands, and promises ten", len(commands))
	}
	room := newMachineRoom(t, 3)
	for i, command := range commands {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		cmd := exec.CommandContext(ctx, "sh", "-c", room.here(command))
		cmd.Dir, cmd.WaitDelay = room.dir, time.Second
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(room.dir, "bin")+":"+os.Getenv("PATH"), "ROOM="+room.dir)
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%d. %s: %v\n%s", i+1, command, err, out)
		}
		if i == len(commands)-1 && !strings.Contains(string(out), " SERVING") {
			t.Errorf("the last command says: %s", out)
		}
	}
	units := room.running()
	if want := []string{"m1 rollcall", "m1 rollcall-agent", "m2 rollcall", "m3 rollcall"}; !slices.Equal(units, want) {
		t.Errorf("what runs: %v, want %v", units, want)
	}
	// A reload as the unit has it, of a good file and of one with a fault, and the end.
	agent := room.unit("m1 rollcall-agent")
	if err := agent.reload(); err != nil {
		t.Errorf("a reload: %v", err)
	}
	eventually(t, "the agent to read its file", func(context.Context) bool { return strings.Contains(agent.log.String(), readAgain) })
	file := filepath.Join(room.dir, "m1/etc/rollcall/agent.yaml")
	must(t, os.WriteFile(file, []byte("services: []\n"), 0o640))
	if err := agent.reload(); err == nil || !strings.Contains(err.Error(), "agent.yaml:1:") {
		t.Errorf("a reload of a file with a fault: %v", err)
	}
	if strings.Contains(agent.log.String(), notTaken) {
		t.Error("the agent has read a file with a fault")
	}
	for _, u := range room.units {
		must(t, u.cmd.Process.Signal(syscall.SIGTERM))
		if err := u.cmd.Wait(); err != nil {
			t.Errorf("%s ends with %v:\n%s", u.name, err, tail(u.log.String(), 2000))
		}
		if told := u.told.String(); !strings.Contains(told, "STOPPING=1\n") {
			t.Errorf("%s told:\n%s", u.name, told)
		}
		u.cmd = nil
	}
}

// installCommands are the commands of the page's first block.
func installCommands(t *testing.T) (commands []string) {
	t.Helper()
	for _, b := range readPage(t, "docs/install.md").blocks {
		if strings.Contains(b.example, t.Name()) {
			for _, s := range b.steps {
				commands = append(commands, s.command)
			}
		}
	}
	if len(commands) < 5 {
		t.Fatalf("docs/install.md has %d commands for %s", len(commands), t.Name())
	}
	return commands
}

// machineRoom is a directory for each machine, m1, m2 and so on, and what runs there.
type machineRoom struct {
	t     *testing.T
	dir   string
	net   string // of the machines: 127.A.B; m1 is 127.A.B.1
	mu    sync.Mutex
	units []*startedUnit
}

// startedUnit is a unit that was started.
type startedUnit struct {
	name  string // MACHINE UNIT
	cmd   *exec.Cmd
	lines map[string][]string // of the unit's file, by key
	env   []string
	room  *machineRoom
	told  *syncBuffer
	log   *syncBuffer
}

func newMachineRoom(t *testing.T, machines int) *machineRoom {
	t.Helper()
	r := &machineRoom{t: t, dir: t.TempDir()}
	for b := range 250 {
		r.net = fmt.Sprintf("127.77.%d", (os.Getpid()+b)%250+1)
		if r.free() {
			break
		}
	}
	for path, text := range map[string]string{
		"bin/scp": `case $2 in *:) to=root/;; *) to=${2#*:};; esac; eval "from=\$1"; host=${2#root@}; host=${host%%:*}
exec cp "$1" "$ROOM/m${host##*.}/$to"`,
		"bin/ssh": `host=${1#root@}; shift; MACHINE=$ROOM/m${host##*.}; export MACHINE; cd "$MACHINE/root" || exit 1
PATH=$MACHINE/usr/bin:$ROOM/machine:$PATH; exec sh -c "$(printf %s "$*" | sed "s|/etc/rollcall/|$MACHINE/etc/rollcall/|g")"`,
		"machine/dpkg": `test "$1" = --install && test -f "$2" && cp -r "$ROOM/package/." "$MACHINE/"`,
		"machine/systemctl": `test "$1 $2" = "enable --now" || exit 1
reply=$ROOM/reply.$$; mkfifo "$reply"; echo "${MACHINE##*/} $3 $reply" > "$ROOM/systemd"; read -r status < "$reply"; test "$status" = started || { echo "$status"; exit 1; }`,
	} {
		path = filepath.Join(r.dir, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	for i := range machines {
		must(t, os.MkdirAll(filepath.Join(r.dir, fmt.Sprintf("m%d/root", i+1)), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(r.dir, "rollcall_1.0.0_amd64.deb"), nil, 0o644))
	for from, to := range map[string]string{
		"rollcall.service": "lib/systemd/system", "rollcall-agent.service": "lib/systemd/system", "rollcall.env": "etc/rollcall", "agent.yaml": "etc/rollcall",
	} {
		b, err := os.ReadFile(filepath.Join("../deploy/systemd", from))
		must(t, err)
		path := filepath.Join(r.dir, "package", to, from)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(r.here(string(b))), 0o644))
	}
	must(t, os.MkdirAll(filepath.Join(r.dir, "package/usr/bin"), 0o755))
	must(t, os.Symlink(binary, filepath.Join(r.dir, "package/usr/bin/rollcall")))
	r.serve()
	t.Cleanup(func() {
		for _, u := range r.units {
			if u.cmd != nil {
				u.cmd.Process.Kill()
				u.cmd.Wait()
			}
			if t.Failed() {
				t.Logf("--- log of %s\n%s", u.name, tail(u.log.String(), 3000))
			}
		}
	})
	return r
}

// free reports whether the ports of the pages are free on all machines.
func (r *machineRoom) free() bool {
	for host := 1; host <= 3; host++ {
		for _, port := range []int{7600, 7601, 7602, 7610, 7612} {
			l, err := net.Listen("tcp", fmt.Sprintf("%s.%d:%d", r.net, host, port))
			if err != nil {
				return false
			}
			l.Close()
		}
	}
	return true
}

// here puts the addresses of the machines into a text.
func (r *machineRoom) here(text string) string { return strings.ReplaceAll(text, "10.0.0.", r.net+".") }

// serve starts units as systemctl asks.
func (r *machineRoom) serve() {
	r.t.Helper()
	path := filepath.Join(r.dir, "systemd")
	must(r.t, syscall.Mkfifo(path, 0o600))
	requests, err := os.OpenFile(path, os.O_RDWR, 0) // for writing too, so that it has no end
	must(r.t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			var machine, unit, reply string
			if _, err := fmt.Fscanln(requests, &machine, &unit, &reply); err != nil {
				return
			}
			status := "started"
			if err := r.start(machine, unit); err != nil {
				status = strings.ReplaceAll(err.Error(), "\n", " ")
			}
			if err := os.WriteFile(reply, []byte(status+"\n"), 0); err != nil {
				return
			}
		}
	}()
	r.t.Cleanup(func() { requests.Close(); <-served })
}

// start starts a unit, and returns when it is ready, as Type=notify has it.
func (r *machineRoom) start(machine, name string) error {
	u := &startedUnit{name: machine + " " + name, room: r, lines: map[string][]string{}, log: &syncBuffer{}}
	b, err := os.ReadFile(filepath.Join(r.dir, machine, "lib/systemd/system", name+".service"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			u.lines[key] = append(u.lines[key], value)
		}
	}
	var socket string
	socket, u.told = serviceManager(r.t)
	u.env = []string{"PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=" + socket}
	for _, file := range u.lines["EnvironmentFile"] {
		path, optional := strings.CutPrefix(file, "-")
		b, err := os.ReadFile(filepath.Join(r.dir, machine, path))
		if err != nil && !(optional && errors.Is(err, os.ErrNotExist)) {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
				u.env = append(u.env, name+"="+u.there(strings.Trim(value, `"`)))
			}
		}
	}
	for _, variable := range u.lines["Environment"] {
		u.env = append(u.env, u.there(variable))
	}
	for _, d := range u.lines["StateDirectory"] {
		if err := os.MkdirAll(filepath.Join(r.dir, machine, "var/lib", d), 0o700); err != nil {
			return err
		}
	}
	if file := filepath.Join(r.dir, machine, "etc/rollcall/agent.yaml"); name == "rollcall-agent" {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(u.there(string(b))), 0o640); err != nil {
			return err
		}
	}
	u.cmd = u.command(u.lines["ExecStart"][0])
	u.cmd.Stdout, u.cmd.Stderr = u.log, u.log
	if err := u.cmd.Start(); err != nil {
		return err
	}
	r.mu.Lock()
	r.units = append(r.units, u)
	r.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		select {
		case <-tick.C:
			if strings.Contains(u.told.String(), "READY=1\n") {
				return nil
			}
		case <-late:
			return fmt.Errorf("%s is not ready: %s", u.name, tail(u.log.String(), 500))
		}
	}
}

// there puts the machine's directory and address in place of the root of a file system and of loopback.
func (u *startedUnit) there(text string) string {
	machine, _, _ := strings.Cut(u.name, " ")
	root := filepath.Join(u.room.dir, machine)
	for _, dir := range []string{"/etc/rollcall", "/var/lib/rollcall", "/usr/bin/rollcall"} {
		text = strings.ReplaceAll(text, dir, root+dir)
	}
	return strings.ReplaceAll(text, "127.0.0.1", u.room.net+"."+strings.TrimPrefix(machine, "m"))
}

// command is a line of the unit: words, of which one may stand in quotes.
func (u *startedUnit) command(line string) *exec.Cmd {
	if u.cmd != nil {
		line = strings.ReplaceAll(line, "${MAINPID}", fmt.Sprint(u.cmd.Process.Pid))
	}
	words := strings.Fields(u.there(line))
	if before, quoted, ok := strings.Cut(u.there(line), `"`); ok {
		words = append(strings.Fields(before), strings.TrimSuffix(quoted, `"`))
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = u.env
	return cmd
}

// reload does what the unit says, one line after the other.
func (u *startedUnit) reload() error {
	for _, line := range u.lines["ExecReload"] {
		if out, err := u.command(line).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return nil
}

func (r *machineRoom) unit(name string) *startedUnit {
	r.t.Helper()
	for _, u := range r.units {
		if u.name == name {
			return u
		}
	}
	r.t.Fatalf("%s does not run", name)
	return nil
}

func (r *machineRoom) running() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.units {
		names = append(names, u.name)
	}
	slices.Sort(names)
	return names
}
