package checks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxOutput = 4 << 10 // bytes of each of a command's outputs that are kept

	// pipeGrace is how long the outputs are waited for when the command has ended and its group was killed. Only a
	// process that left the group can hold them open longer.
	pipeGrace = 500 * time.Millisecond
)

// CommandOption is an option of Command.
type CommandOption func(*commandCheck)

// CommandDir sets the command's working directory. The default is the program's.
func CommandDir(dir string) CommandOption { return func(c *commandCheck) { c.dir = dir } }

// CommandEnv adds variables, NAME=VALUE, to the command's environment.
func CommandEnv(variables ...string) CommandOption {
	return func(c *commandCheck) { c.env = append(c.env, variables...) }
}

type commandCheck struct {
	readymade
	args []string
	dir  string
	env  []string
}

// Command returns a check that runs the program args[0] with the other args, as plugins of Nagios and scripts of
// Consul are run. Exit code 0 is success. 1 is a warning, see Degraded: it turns nothing, so a script that fails
// must exit with 2. Everything else is a failure: another code, a signal, a program that is not there.
//
// The message holds the exit code and the first line of the standard output, or else of the standard error. 4 KiB of
// each are kept, the rest is read and forgotten. There is no shell: use "sh", "-c", "…" for one. The standard input
// is empty. The environment holds only PATH, HOME, USER, LANG, TZ and TMPDIR of the program's, and CommandEnv's, so
// that its secrets do not reach the command.
//
// The command has a process group of its own. At the timeout, and when the command itself has ended, the whole group
// is killed, and so are children left behind. A process that has left the group lives on and is not waited for. Where
// there are no process groups (Windows), only the command itself is killed.
func Command(name string, args []string, opts ...CommandOption) Check {
	c := &commandCheck{args: slices.Clone(args)}
	c.name, c.run = name, c.exec
	if c.err = apply(c, opts); c.err == nil {
		c.err = c.validate()
	}
	return c
}

func (c *commandCheck) validate() error {
	if len(c.args) == 0 || c.args[0] == "" {
		return errors.New("Command needs a program to run")
	}
	for _, s := range slices.Concat(c.args, c.env, []string{c.dir}) {
		if strings.ContainsRune(s, 0) {
			return errors.New("an argument, a variable or the directory of the command has a zero byte")
		}
	}
	for _, v := range c.env {
		if i := strings.IndexByte(v, '='); i <= 0 {
			return errors.New("CommandEnv needs NAME=VALUE")
		}
	}
	return nil
}

func (c *commandCheck) environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, c.env...)
}

func (c *commandCheck) exec(ctx context.Context) error {
	a := begin(ctx)
	if ctx.Err() != nil {
		return a.late("the command was not started")
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.environment()
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }

	// The outputs are pipes of this check's, not of exec.Cmd, so that Wait returns as soon as the command itself has
	// ended, and its group can be killed before the pipes are waited for.
	var outputs [2]*output
	for i := range outputs {
		out, err := newOutput()
		if err != nil {
			for _, earlier := range outputs[:i] {
				earlier.close()
			}
			return fmt.Errorf("the command was not started: no pipe: %w", err)
		}
		outputs[i] = out
	}
	cmd.Stdout, cmd.Stderr = outputs[0].write, outputs[1].write

	err := cmd.Start()
	for _, out := range outputs {
		out.write.Close()
	}
	if err != nil {
		for _, out := range outputs {
			out.close()
		}
		return c.notStarted(err)
	}
	err = cmd.Wait()
	_ = killGroup(cmd.Process)
	stop := time.Now().Add(pipeGrace)
	var kept [2][]byte
	for i, out := range outputs {
		kept[i] = out.finish(stop)
	}
	return c.verdict(a, err, firstLine(kept[0], kept[1]))
}

func (c *commandCheck) notStarted(err error) error {
	var why string
	switch {
	case errors.Is(err, exec.ErrNotFound):
		why = "there is no such program in PATH"
	case errors.Is(err, fs.ErrNotExist):
		why = "there is no such program, or no such directory to run it in"
	case errors.Is(err, fs.ErrPermission):
		why = "it may not be executed"
	default:
		why = foreign(err.Error())
	}
	return &wordedError{fmt.Sprintf("cannot start %q: %s", foreign(c.args[0]), why), err}
}

func (c *commandCheck) verdict(a attempt, err error, line string) error {
	if err == nil {
		return nil
	}
	if a.ctx.Err() != nil {
		message := "the command did not end"
		if line != "" {
			message = fmt.Sprintf("the command (%s) did not end", line)
		}
		return a.late(message)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("the command's end is not known: %s", foreign(err.Error()))
	}
	if line != "" {
		line = ": " + line
	}
	switch code := exit.ExitCode(); code {
	case -1:
		return errors.New("ended by " + foreign(exit.Error()) + line)
	case 1:
		return Degraded(errors.New("exit code 1" + line))
	default:
		return fmt.Errorf("exit code %d%s", code, line)
	}
}

// output reads what a command writes, and keeps the beginning of it.
type output struct {
	read, write *os.File
	done        chan struct{} // closed when the reading has ended

	mu   sync.Mutex // guards kept
	kept []byte
}

func newOutput() (*output, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{read: read, write: write, done: make(chan struct{})}
	go o.copy()
	return o, nil
}

func (o *output) copy() {
	defer close(o.done)
	_, _ = io.Copy(o, o.read)
}

// Write keeps the first maxOutput bytes, and takes them all.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	return len(p), nil
}

// finish waits for the end of the output, until stop at most, and returns what was kept.
func (o *output) finish(stop time.Time) []byte {
	_ = o.read.SetReadDeadline(stop)
	<-o.done
	o.close()
	return o.kept
}

// close ends the reading and waits for it.
func (o *output) close() {
	o.write.Close()
	o.read.Close()
	<-o.done
}

// firstLine returns the first line that is not empty, of stdout or else of stderr, made fit for a message.
func firstLine(stdout, stderr []byte) string {
	for _, out := range [][]byte{stdout, stderr} {
		for line := range strings.Lines(string(out)) {
			if line = oneLine(line, maxOutput); line != "" {
				return line
			}
		}
	}
	return ""
}
