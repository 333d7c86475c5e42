package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// devOutput tells what happens to a dev cluster, in lines for people or one JSON object a line.
type devOutput struct {
	app     *app
	restart time.Duration // pause before a node that ended is started again; 0: it is not

	mu     sync.Mutex     // guards what follows and the app's standard output
	starts map[string]int // by node
}

func (o *devOutput) event(e devEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.json() {
		o.app.printJSONLine(e)
		return
	}
	switch e.Event {
	case "started":
		if o.starts == nil {
			o.starts = map[string]int{}
		}
		o.starts[e.Node]++
		if o.starts[e.Node] > 1 { // of the first, the table tells
			fmt.Fprintf(o.app.stdout, "%s is back: pid %d\n", e.Node, e.PID)
		}
	case "ended":
		line := e.Node
		if e.PID != 0 {
			line += fmt.Sprintf(" (pid %d)", e.PID)
		}
		line += " ended: " + e.Reason
		if o.restart > 0 {
			line += fmt.Sprintf("; it is started again in %s", o.restart)
		}
		fmt.Fprintln(o.app.stdout, line)
	}
}

// nodes shows what was started; for programs, the events have said it.
func (o *devOutput) nodes(nodes []devNode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.json() {
		return
	}
	table(o.app.stdout, func(row func(...string)) {
		row("NODE", "PID", "API", "PEER", "HTTP")
		for _, n := range nodes {
			pid := "-"
			if n.PID != 0 {
				pid = fmt.Sprint(n.PID)
			}
			row(n.Name, pid, n.APIAddress, n.PeerAddress, n.HTTPAddress)
		}
	})
}

// ready says that the cluster is, or with err why it is not after all.
func (o *devOutput) ready(nodes []devNode, data string, took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.app
	problem := ""
	if err != nil {
		problem = a.explain(err).Error()
	}
	if a.json() {
		a.printJSONLine(struct {
			Event   string    `json:"event"`
			Ready   bool      `json:"ready"`
			Problem string    `json:"problem,omitempty"`
			Data    string    `json:"data"`
			Nodes   []devNode `json:"nodes"`
		}{"nodes", err == nil, problem, data, nodes})
		return
	}
	if problem != "" {
		fmt.Fprintf(a.stdout, "! %s\n", problem)
	} else {
		fmt.Fprintf(a.stdout, "ready after %s, data in %s\n", took.Round(100*time.Millisecond), data)
	}
	fmt.Fprint(a.stdout, hints(nodes))
}

// hints are commands to try; they name the endpoints where the default would miss the cluster.
func hints(nodes []devNode) string {
	endpoints := devEndpoints(nodes)
	var b strings.Builder
	b.WriteString("\ntry, in another terminal:\n")
	if !slices.Equal(endpoints, client.DefaultConfig().Endpoints) {
		fmt.Fprintf(&b, "  export ROLLCALL_ENDPOINTS=%s\n", strings.Join(endpoints, ","))
	}
	b.WriteString("  rollcall watch shop/cart\n")
	b.WriteString("  rollcall set shop/cart serving --reason \"hello\"\n")
	b.WriteString("  rollcall status\n")
	if n := nodes[0]; len(nodes) > 2 && n.PID != 0 {
		fmt.Fprintf(&b, "or \"kill -9 %d\" and see the others go on; Ctrl-C stops them all\n\n", n.PID)
	} else {
		b.WriteString("Ctrl-C stops it\n\n")
	}
	return b.String()
}

func (o *devOutput) stopping() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.app.json() {
		fmt.Fprintln(o.app.stdout, "stopping ...")
	}
}

func (o *devOutput) stopped(data string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.app.json() {
		return
	}
	fmt.Fprintf(o.app.stdout, "stopped; the data stay in %s, and \"rollcall dev\" goes on with them (--fresh begins anew)\n", data)
}
