package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags of a run.
type options struct {
	only     []string // names of scenarios
	rounds   int
	duration time.Duration // of one measurement
	kills    int           // of leaders, a round
	full     bool          // a million services, a hundred thousand watchers
	requests bool          // writes to Rollcall carry a request id, as its client's do
	repo     string        // root of Rollcall's sources
	before   string        // root of an earlier tree, to measure beside in place of peers; "": none
	dir      string        // where data directories are made
	keep     bool          // leave them
	out      string        // results
	page     string        // where tables go; "" is standard output
	plots    string
}

func pageFlags(f *flag.FlagSet) (page, plots *string) {
	page = f.String("page", "", "Markdown `file` to put tables into, between its markers (default: standard output)")
	plots = f.String("plots", "../docs/bench", "`directory` for the plots of --page")
	return page, plots
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	page, plots := pageFlags(f)
	only := f.String("only", "", "`scenarios` to run, with commas between: "+strings.Join(scenarioNames(), ",")+" (default: all)")
	f.IntVar(&o.rounds, "rounds", 3, "rounds in which the contestants take turns")
	f.DurationVar(&o.duration, "duration", 2500*time.Millisecond, "how long one measurement takes, after a quarter of it to warm up")
	f.IntVar(&o.kills, "kills", 5, "leaders killed in each round of the scenario failover")
	f.BoolVar(&o.full, "full", false, "up to a million services and a hundred thousand watchers: needs about 8 GiB and twice the time")
	f.BoolVar(&o.requests, "request-ids", true, "writes to Rollcall carry request ids, as its own client's do")
	f.StringVar(&o.repo, "repo", "..", "root of Rollcall's `sources`")
	f.StringVar(&o.before, "before", "", "root of an earlier tree of Rollcall's `sources`: measured beside this one, in place of the peers")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for the data of the servers; a real disk, or figures of writes mean nothing")
	f.BoolVar(&o.keep, "keep", false, "keep data directories and logs")
	f.StringVar(&o.out, "out", "", "`file` for the results, JSON (default: bench-TIME.json in --dir)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("run takes no arguments, only flags; %q is not one", f.Arg(0))
	}
	o.page, o.plots = *page, *plots
	for name := range strings.SplitSeq(*only, ",") {
		if name == "" {
			continue
		}
		if !slices.Contains(scenarioNames(), name) {
			return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(scenarioNames(), ", "))
		}
		o.only = append(o.only, name)
	}
	if o.before != "" {
		if len(o.only) == 0 {
			o.only = beforeScenarios
		}
		if err := checkBefore(o.only); err != nil {
			return nil, err
		}
		if o.page != "" {
			return nil, fmt.Errorf("--before makes no page: its tables go to standard output")
		}
	}
	if o.rounds < 1 || o.kills < 1 || o.duration <= 0 {
		return nil, fmt.Errorf("--rounds and --kills must be at least 1, --duration positive")
	}
	if o.out == "" {
		o.out = filepath.Join(o.dir, "bench-"+time.Now().UTC().Format("20060102T150405Z")+".json")
	}
	return o, nil
}

// settings are the options that change the figures. The report shows them.
func (o *options) settings() map[string]string {
	return map[string]string{
		"rounds":          strconv.Itoa(o.rounds),
		"one measurement": o.duration.String(),
		"request ids":     strconv.FormatBool(o.requests),
		"Rollcall":        "rollcall serve, defaults",
		"etcd":            "etcd's own defaults, quota raised to 8 GiB",
		"NATS":            "JetStream file store, sync always, key-value bucket of 3 replicas",
		"health.Server":   "grpc-go's defaults",
		"clients":         "one process, stock, one connection a node",
	}
}
