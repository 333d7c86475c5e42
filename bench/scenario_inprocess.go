package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rollcallhq/rollcall/bench/report"
)

var inProcessScenario = scenario{
	name:  "inprocess",
	title: "Check in process",
	about: "BenchmarkInProcessCheck of Rollcall's package server: the health service over a registry that the fold filled, without gRPC, beside grpc-go's health.Server; services picked one after the other out of order.",
	run:   runInProcess,
}

func runInProcess(ctx context.Context, s *session, r *report.Scenario) error {
	binary := s.binary("server.test")
	s.progress("building the benchmark")
	if err := s.goTool(ctx, s.repo, "test", "-c", "-o", binary, "./server"); err != nil {
		return err
	}
	type contestant struct{ who, sub string }
	return eachRound(s, []contestant{{rollcallName, "rollcall"}, {healthName, "grpc-go"}}, func(c contestant) error {
		s.progress("%s", c.who)
		cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench=^BenchmarkInProcessCheck$/^"+c.sub+"$/^services=(10|100000)$", "-test.benchmem",
			"-test.cpu=1,2", "-test.benchtime="+(s.duration/6).String())
		cmd.Dir = s.root
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		results := parseBenchmark(out)
		if len(results) != 4 {
			return fmt.Errorf("4 results were expected of:\n%s", out)
		}
		for _, b := range results {
			n, _ := strconv.Atoi(b.services)
			work := report.Number(float64(n)) + " services"
			time := (*report.Bar)(nil)
			if b.cores == 1 {
				work += ", one core"
				time = report.RatioAtMost(0.6, 0)
			} else {
				work += ", two cores"
			}
			r.Row(work, "ns/call", time, rollcallName, healthName).Add(c.who, b.ns)
			r.Row(work, "allocations/call", report.AtMost(0, 0), rollcallName, healthName).Add(c.who, b.allocs)
		}
		return nil
	})
}

// inProcess is one line of go test -bench.
type inProcess struct {
	services   string
	cores      int
	ns, allocs float64
}

// parseBenchmark reads lines such as
//
//	BenchmarkInProcessCheck/rollcall/services=10-2   1000   12.3 ns/op   0 B/op   0 allocs/op
func parseBenchmark(out []byte) []inProcess {
	var all []inProcess
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		_, services, ok := strings.Cut(f[0], "services=")
		if !ok {
			continue
		}
		b := inProcess{cores: 1}
		var cores string
		if b.services, cores, ok = strings.Cut(services, "-"); ok {
			b.cores, _ = strconv.Atoi(cores)
		}
		b.ns, _ = strconv.ParseFloat(f[2], 64)
		b.allocs, _ = strconv.ParseFloat(f[6], 64)
		all = append(all, b)
	}
	return all
}
