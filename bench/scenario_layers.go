package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rollcallhq/rollcall/bench/report"
)

// plainName is how tables name the registry without overrides or rules that one with them is measured beside.
const plainName = "without"

var layersScenario = scenario{
	name:  "layers",
	title: "Overrides and rules",
	about: "Benchmarks of Rollcall's package fsm, in process. Check: one of 10,000 services, picked out of order, beside the same without overrides in the same process. An override over 100,000 services, all of them watched, half of them NOT_SERVING already: how long its apply holds up everything else, until the last of the 50,000 watches that must be sent to has been, and how many were sent to. A change: of one service's status, in entries of 100, with 1,000 rules and without.",
	run:   runLayers,
}

// fsmBenchmark runs benchmarks of package fsm and returns what they printed. It builds them once.
func (s *session) fsmBenchmark(ctx context.Context, pattern, benchtime string) (map[string]figures, error) {
	binary := s.binary("fsm.test")
	if _, err := os.Stat(binary); err != nil {
		s.progress("building the benchmarks")
		if err := s.goTool(ctx, s.repo, "test", "-c", "-o", binary, "./fsm"); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchmem", "-test.benchtime="+benchtime)
	cmd.Dir = filepath.Join(s.repo, "fsm")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return parseFigures(out), nil
}

func runLayers(ctx context.Context, s *session, r *report.Scenario) error {
	for range s.rounds {
		s.progress("Check")
		check, err := s.fsmBenchmark(ctx, "^BenchmarkCheckUnderOverrides$", (s.duration / 5).String())
		if err != nil {
			return err
		}
		if err := checkRows(r, check); err != nil {
			return err
		}
		s.progress("overrides over 100,000 services")
		over, err := s.fsmBenchmark(ctx, "^BenchmarkOverrideOfManyServices$", "10x")
		if err != nil {
			return err
		}
		if err := overrideRows(r, over); err != nil {
			return err
		}
		s.progress("changes under rules")
		changes, err := s.fsmBenchmark(ctx, "^BenchmarkStatusChangeUnderRules$", (s.duration / 5).String())
		if err != nil {
			return err
		}
		if err := ruleRows(r, changes); err != nil {
			return err
		}
	}
	return nil
}

// The bars are what the design asks for.
func checkRows(r *report.Scenario, f map[string]figures) error {
	none, err := figure(f, "overrides/none", "ns/op")
	if err != nil {
		return err
	}
	for _, c := range []struct{ sub, work string }{
		{"all", "Check, one override *"}, {"prefix=1", "Check, one override team/*"},
		{"prefix=100", "Check, 100 overrides team/*"}, {"exact=10000", "Check, 10,000 overrides of one service each"},
	} {
		ns, err := figure(f, "overrides/"+c.sub, "ns/op")
		if err != nil {
			return err
		}
		allocs, err := figure(f, "overrides/"+c.sub, "allocs/op")
		if err != nil {
			return err
		}
		row := r.Row(c.work, "ns", nil, rollcallName, plainName)
		row.Add(rollcallName, ns)
		row.Add(plainName, none)
		r.Row(c.work, "ns more than without", report.AtMost(50, 0), rollcallName).Add(rollcallName, ns-none)
		r.Row(c.work, "allocations", report.AtMost(0, 0), rollcallName).Add(rollcallName, allocs)
	}
	return nil
}

func overrideRows(r *report.Scenario, f map[string]figures) error {
	for _, c := range []struct {
		sub, work string
		apply     *report.Bar
	}{
		{"rules=none", "override over 100,000 services", report.AtMost(1, 0)},
		{"rules=around", "the same, inside the pattern of a rule", report.AtMost(30, 0)},
	} {
		for _, unit := range []string{"ms/apply", "ms/last-wake", "woken"} {
			v, err := figure(f, c.sub, unit)
			if err != nil {
				return err
			}
			switch unit {
			case "ms/apply":
				r.Row(c.work, "ms that apply is held up", c.apply, rollcallName).Add(rollcallName, v)
			case "ms/last-wake":
				r.Row(c.work, "ms to the last of 50,000 watches", nil, rollcallName).Add(rollcallName, v)
			default:
				r.Row(c.work, "watches sent to, of 100,000", report.AtMost(50_000, 0), rollcallName).Add(rollcallName, v)
			}
		}
	}
	return nil
}

func ruleRows(r *report.Scenario, f map[string]figures) error {
	none, err := figure(f, "rules=0", "ns/change")
	if err != nil {
		return err
	}
	many, err := figure(f, "rules=1000", "ns/change")
	if err != nil {
		return err
	}
	row := r.Row("a status change, 1,000 rules", "µs", nil, rollcallName, plainName)
	row.Add(rollcallName, many/1000)
	row.Add(plainName, none/1000)
	r.Row("a status change, 1,000 rules", "µs more than without", report.AtMost(0.2, 0), rollcallName).Add(rollcallName, (many-none)/1000)
	return nil
}

// figures are what one benchmark printed, by unit.
type figures map[string]float64

var figureLine = regexp.MustCompile(`^Benchmark\w+/(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// parseFigures reads the output of go test -bench, by what follows the benchmark's name.
func parseFigures(out []byte) map[string]figures {
	all := map[string]figures{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		m := figureLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		f := figures{}
		fields := strings.Fields(m[2])
		for i := 0; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				f[fields[i+1]] = v
			}
		}
		all[m[1]] = f
	}
	return all
}

func figure(all map[string]figures, name, unit string) (float64, error) {
	v, ok := all[name][unit]
	if !ok {
		return 0, fmt.Errorf("no %s of %s was printed", unit, name)
	}
	return v, nil
}
