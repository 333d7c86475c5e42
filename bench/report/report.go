// Package report is what a run of the benchmarks found: the figures of every round, what they were
// asked to be, and how that is shown, as tables in Markdown and plots in SVG. It measures nothing.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Run is one run of the benchmarks on one machine.
type Run struct {
	Started   time.Time         `json:"started"`
	Took      string            `json:"took"`
	Commit    string            `json:"commit"`
	Machine   Machine           `json:"machine"`
	Versions  map[string]string `json:"versions"`
	Settings  map[string]string `json:"settings"`
	Scenarios []*Scenario       `json:"scenarios"`
}

// Machine is where a run took place.
type Machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memory_gib"`
	Kernel    string  `json:"kernel"`
	Go        string  `json:"go"`
	// Of writing 4 KiB and making them durable, in the directory that holds the data.
	FdatasyncMedianMicros float64 `json:"fdatasync_median_us"`
	FdatasyncP99Micros    float64 `json:"fdatasync_p99_us"`
}

// Scenario is one piece of work, done by Rollcall and by its peers in turn.
type Scenario struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	About  string   `json:"about"` // how it is measured
	Took   string   `json:"took"`
	Failed string   `json:"failed,omitempty"` // why it did not end; what it had measured stands
	Rows   []*Row   `json:"rows,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Plots  []*Plot  `json:"plots,omitempty"`
}

// Row is one figure.
type Row struct {
	Work string `json:"work"`
	Unit string `json:"unit"`
	Bar  *Bar   `json:"bar,omitempty"` // nil: for information
	// Series hold one value a round. The first is Rollcall's; the second, if there is one, is the peer's
	// that it is compared with.
	Series []*Series `json:"series"`
}

// Series is what one contestant reached.
type Series struct {
	Who    string    `json:"who"`
	Values []float64 `json:"values"`
}

// Bar is what a row must reach.
type Bar struct {
	// Ratio: what counts is Rollcall's figure over the peer's; otherwise the figure itself.
	Ratio   bool    `json:"ratio"`
	AtLeast bool    `json:"at_least"` // otherwise at most
	Limit   float64 `json:"limit"`
	Reach   float64 `json:"reach,omitempty"` // what would be better still; 0: nothing stated
}

// RatioAtLeast and the others make bars; a reach of 0 is none.
func RatioAtLeast(limit, reach float64) *Bar {
	return &Bar{Ratio: true, AtLeast: true, Limit: limit, Reach: reach}
}

// RatioAtMost is for what should be small.
func RatioAtMost(limit, reach float64) *Bar { return &Bar{Ratio: true, Limit: limit, Reach: reach} }

// AtLeast is of the figure itself.
func AtLeast(limit, reach float64) *Bar { return &Bar{AtLeast: true, Limit: limit, Reach: reach} }

// AtMost is of the figure itself.
func AtMost(limit, reach float64) *Bar { return &Bar{Limit: limit, Reach: reach} }

// Verdict says how a row stands to its bar.
type Verdict int

// The verdicts. Unmeasured means that a series is missing, so nothing is shown.
const (
	Informative Verdict = iota
	Unmeasured
	Fail
	Pass
	Reached // and what it reaches for
)

func (v Verdict) String() string {
	return [...]string{"", "not measured", "**fail**", "pass", "pass, reached"}[v]
}

// Ours are Rollcall's figures, nil if there are none.
func (r *Row) Ours() []float64 { return r.series(0) }

// Peers are those of the peer that it is compared with.
func (r *Row) Peers() []float64 { return r.series(1) }

func (r *Row) series(i int) []float64 {
	if i >= len(r.Series) {
		return nil
	}
	return r.Series[i].Values
}

// Verdict judges the median: of the rounds' ratios, or of the figures.
func (r *Row) Verdict() Verdict {
	if r.Bar == nil {
		return Informative
	}
	values := r.Ours()
	if r.Bar.Ratio {
		values = Ratios(r.Ours(), r.Peers())
	}
	if len(values) == 0 {
		return Unmeasured
	}
	m := Median(values)
	meets := func(limit float64) bool {
		if r.Bar.AtLeast {
			return m >= limit
		}
		return m <= limit
	}
	switch {
	case !meets(r.Bar.Limit):
		return Fail
	case r.Bar.Reach != 0 && meets(r.Bar.Reach):
		return Reached
	}
	return Pass
}

// Add appends v to who's series, which it makes if need be.
func (r *Row) Add(who string, v float64) {
	for _, s := range r.Series {
		if s.Who == who {
			s.Values = append(s.Values, v)
			return
		}
	}
	r.Series = append(r.Series, &Series{Who: who, Values: []float64{v}})
}

// Row finds the row of that work and unit, or adds it with contestants in this order: the first is
// Rollcall.
func (s *Scenario) Row(work, unit string, bar *Bar, contestants ...string) *Row {
	for _, r := range s.Rows {
		if r.Work == work && r.Unit == unit {
			return r
		}
	}
	r := &Row{Work: work, Unit: unit, Bar: bar}
	for _, who := range contestants {
		r.Series = append(r.Series, &Series{Who: who})
	}
	s.Rows = append(s.Rows, r)
	return r
}

// Note adds a line under the table.
func (s *Scenario) Note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Read reads runs from files. Scenarios of later ones replace those of the same name, so that part of
// a run can be repeated; everything else is the first's.
func Read(files ...string) (*Run, error) {
	var first *Run
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		r := &Run{}
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if first == nil {
			first = r
			continue
		}
		first.merge(r)
	}
	if first == nil {
		return nil, fmt.Errorf("no files of results")
	}
	return first, nil
}

func (r *Run) merge(later *Run) {
next:
	for _, s := range later.Scenarios {
		for i, old := range r.Scenarios {
			if old.Name == s.Name {
				r.Scenarios[i] = s
				continue next
			}
		}
		r.Scenarios = append(r.Scenarios, s)
	}
}

// Write writes r to a file.
func (r *Run) Write(file string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
