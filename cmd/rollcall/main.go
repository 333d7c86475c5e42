package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; stop restores the default, so a later one ends at once. What comes
	// right after the first is the same request: timeout(1), for one, signals its child and then the child's group.
	const together = 300 * time.Millisecond
	context.AfterFunc(ctx, func() { time.AfterFunc(together, stop) })
	// A command whose reader has gone ends as if it were still there, and a node outlives what reads its log:
	// writing to a closed pipe is an error, see output, and no longer ends the process.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(ctx, programArguments(os.Args[0], os.Args[1:]), os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit status. It returns soon after ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		stdin:  stdin,
		stdout: stdout,
		stderr: &lockedWriter{w: stderr},
		now:    time.Now,
	}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	args = probeArguments(args)
	out := &output{w: a.stdout}
	a.stdout = out
	a.completing = isCompletion(args)
	a.filtered.a = a
	root := newRootCommand(a)
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started && !onlyOutput(err) {
		err = usageError(cmd, args, err)
	}
	return a.finish(err, out.failed(), wantsJSON(args))
}
