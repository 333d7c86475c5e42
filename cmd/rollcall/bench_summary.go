package main

import (
	"fmt"
	"strconv"
	"time"
)

// latencyJSON is a spread for programs, in seconds.
type latencyJSON struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

func (s *spread) json() latencyJSON {
	return latencyJSON{
		Mean: s.mean().Seconds(),
		P50:  s.quantile(0.5).Seconds(),
		P90:  s.quantile(0.9).Seconds(),
		P99:  s.quantile(0.99).Seconds(),
		Max:  s.max.Seconds(),
	}
}

// cells are a spread for people.
func (s *spread) cells() []string {
	if s.count == 0 {
		return []string{"-", "-", "-"}
	}
	return []string{brief(s.quantile(0.5)), brief(s.quantile(0.99)), brief(s.max)}
}

// summaryJSON is what every kind of load tells programs.
type summaryJSON struct {
	Bench       string         `json:"bench"`
	Endpoints   []string       `json:"endpoints"`
	Connections int            `json:"connections"`
	Seconds     float64        `json:"seconds"`
	Interrupted bool           `json:"interrupted"`
	Errors      uint64         `json:"errors"`
	ErrorsBy    []failureCount `json:"errors_by"`
}

// printFailures tells people how calls failed.
func (a *app) printFailures(f *failures) {
	for _, c := range f.list() {
		kind := c.Code
		if c.Reason != "" {
			kind += " " + c.Reason
		}
		fmt.Fprintf(a.stdout, "! %s × %s: %s\n", grouped(c.Count), kind, printable(c.Message))
	}
}

// benchOutcome is the error of a load that was run and had errors; nil if it had none.
func benchOutcome(f *failures, calls uint64, what string) error {
	n := f.count()
	if n == 0 {
		return nil
	}
	return notAsAsked(fmt.Errorf("%s of %s %s failed", grouped(n), grouped(calls+n), what))
}

func perSecond(n uint64, d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(float64(n)/d.Seconds() + 0.5)
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count is a number with its noun: "1 watch", "2 watches".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(uint64(n)) + " " + many
}

// brief is d with three digits.
func brief(d time.Duration) string {
	step := time.Duration(1)
	for d/step >= 1000 {
		step *= 10
	}
	return d.Round(step).String()
}

// summary is what all loads of calls tell programs.
func (b *benchConnections) summary(kind string, l *load, interrupted bool) summaryJSON {
	return summaryJSON{
		Bench:       kind,
		Endpoints:   b.endpoints,
		Connections: len(b.conns),
		Seconds:     l.elapsed.Seconds(),
		Interrupted: interrupted,
		Errors:      l.failures.count(),
		ErrorsBy:    l.failures.list(),
	}
}

// printLoad tells people how a load of calls went; changes a second where that is another number.
func (a *app) printLoad(l *load, s *spread, changeRate *uint64) error {
	err := table(a.stdout, func(row func(...string)) {
		head := []string{"CALLS", "CALLS/S"}
		cells := []string{grouped(s.count), grouped(perSecond(s.count, l.elapsed))}
		if changeRate != nil {
			head, cells = append(head, "CHANGES/S"), append(cells, grouped(*changeRate))
		}
		row(append(head, "P50", "P99", "MAX", "ERRORS")...)
		row(append(append(cells, s.cells()...), grouped(l.failures.count()))...)
	})
	a.printFailures(&l.failures)
	return err
}
