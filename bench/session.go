package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/bench/report"
)

// session is one run: its options, directory, binaries and children.
type session struct {
	*options
	begun    time.Time
	root     string // of data directories, logs and binaries
	children *children
	scenario string // for the progress line
}

// scenario is one piece of work, done by all contestants in turn.
type scenario struct {
	name, title, about string
	run                func(context.Context, *session, *report.Scenario) error
}

func scenarios() []scenario {
	return []scenario{
		checkScenario, tlsScenario, inProcessScenario, layersScenario, leasesScenario, fanoutScenario, writesScenario, writeStreamScenario, batchesScenario, readsScenario,
		failoverScenario, restartScenario, memoryScenario, servicesScenario, watchersScenario, nodesScenario,
	}
}

func scenarioNames() []string {
	var names []string
	for _, sc := range scenarios() {
		names = append(names, sc.name)
	}
	return names
}

func newSession(ctx context.Context, o *options) (*session, error) {
	root, err := os.MkdirTemp(o.dir, "rollcall-bench-")
	if err != nil {
		return nil, err
	}
	s := &session{options: o, begun: time.Now(), root: root, children: newChildren()}
	if err := s.build(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends what the session started and removes its directory.
func (s *session) close() {
	s.children.close()
	if s.keep {
		s.progress("kept %s", s.root)
		return
	}
	if err := os.RemoveAll(s.root); err != nil {
		s.progress("%v", err)
	}
}

func (s *session) progress(format string, args ...any) {
	name := s.scenario
	if name == "" {
		name = "bench"
	}
	fmt.Fprintf(os.Stderr, "%6.1fs %s: %s\n", time.Since(s.begun).Seconds(), name, fmt.Sprintf(format, args...))
}

// binary is the path of a binary that build made.
func (s *session) binary(name string) string { return filepath.Join(s.root, "bin", name) }

// build makes the servers.
func (s *session) build(ctx context.Context) error {
	for _, b := range s.binaries() {
		s.progress("building %s", b.name)
		if err := s.goTool(ctx, b.dir, "build", "-o", s.binary(b.name), b.what); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) goTool(ctx context.Context, dir string, args ...string) error {
	for i, a := range args {
		if i > 0 && args[i-1] == "-o" {
			absolute, err := filepath.Abs(a)
			if err != nil {
				return err
			}
			args[i] = absolute
		}
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, out)
	}
	return nil
}

// run runs the scenarios. One that fails does not stop the others.
func (s *session) run(ctx context.Context) (*report.Run, error) {
	machine, err := thisMachine(s.root)
	if err != nil {
		return nil, err
	}
	result := &report.Run{
		Started: s.begun, Commit: commit(ctx, s.repo), Machine: *machine,
		Versions: versions(s), Settings: s.settings(),
	}
	for _, sc := range scenarios() {
		if len(s.only) > 0 && !slices.Contains(s.only, sc.name) {
			continue
		}
		s.scenario = sc.name
		begun := time.Now()
		r := &report.Scenario{Name: sc.name, Title: sc.title, About: sc.about}
		result.Scenarios = append(result.Scenarios, r)
		err := sc.run(ctx, s, r)
		s.children.killAll()
		r.Took = time.Since(begun).Round(time.Second).String()
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		if err != nil {
			r.Failed = err.Error()
			s.progress("failed: %v", err)
		}
		if s.before != "" {
			besideBefore(r)
		}
		for _, row := range r.Rows {
			s.progress("%s, %s: %s", row.Work, row.Unit, summary(row))
		}
	}
	s.scenario = ""
	result.Took = time.Since(s.begun).Round(time.Second).String()
	return result, nil
}

func summary(r *report.Row) string {
	var b strings.Builder
	for _, series := range r.Series {
		fmt.Fprintf(&b, "%s %s  ", series.Who, report.Number(report.Median(series.Values)))
	}
	if q := report.Ratios(r.Ours(), r.Peers()); len(q) > 0 {
		fmt.Fprintf(&b, "ratio %s  ", report.Number(report.Median(q)))
	}
	return b.String() + r.Verdict().String()
}

// eachRound lets contestants take turns. Each round begins with another contestant.
func eachRound[T any](s *session, contestants []T, do func(T) error) error {
	for round := range s.rounds {
		for i := range contestants {
			if err := do(contestants[(round+i)%len(contestants)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// dataDir makes a directory for a server.
func (s *session) dataDir(name string) (string, error) {
	return os.MkdirTemp(s.root, name+"-")
}
