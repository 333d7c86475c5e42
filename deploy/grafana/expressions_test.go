package grafana_test

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/prometheus/common/model"
)

// family is a row of docs/metrics.md, which a test of the package metrics compares with what nodes export.
type family struct {
	kind    string
	labels  []string
	meaning string
}

func families(t *testing.T) map[string]family {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]family{
		"process_resident_memory_bytes": {kind: "gauge"}, "process_cpu_seconds_total": {kind: "counter"}, // client_golang's: TestANodeExportsWhatIsAskedFor
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(rollcall_\\w+)` \\| (\\w+) \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		f := family{kind: m[2], meaning: m[4]}
		for _, l := range strings.Split(m[3], ", ") {
			if l != "" {
				f.labels = append(f.labels, strings.Trim(l, "`"))
			}
		}
		all[m[1]] = f
		if f.kind == "histogram" {
			all[m[1]+"_sum"], all[m[1]+"_count"] = family{"counter", f.labels, f.meaning}, family{"counter", f.labels, f.meaning}
			all[m[1]+"_bucket"] = family{"counter", append(slices.Clone(f.labels), "le"), f.meaning}
			delete(all, m[1])
		}
	}
	if len(all) < 100 {
		t.Fatalf("docs/metrics.md was not understood: %d metrics", len(all))
	}
	return all
}

// target are the labels that Prometheus puts on all that it scrapes.
var target = []string{"job", "instance"}

var grafana = strings.NewReplacer("$cluster", "c", "$node", "n.*", "$__rate_interval", "5m")

// wrong says what is wrong with an expression: Prometheus cannot parse it, or it asks for a metric or a label that no
// node exports, so that it would never show anything.
func wrong(all map[string]family, expr string) []string {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(grafana.Replace(expr))
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			f, ok := all[n.Name]
			if !ok && n.Name != "up" {
				problems = append(problems, "nobody exports "+n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != labels.MetricName && !slices.Contains(f.labels, m.Name) && !slices.Contains(target, m.Name) {
					problems = append(problems, fmt.Sprintf("%s has no label %s", n.Name, m.Name))
				}
			}
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if has := labelsOf(all, n.Expr); !n.Without && !slices.Contains(has, l) {
					problems = append(problems, fmt.Sprintf("by (%s): what is summed has only %s", l, has))
				}
			}
		case *parser.Call:
			problems = append(problems, wrongCall(all, n)...)
		}
		return nil
	})
	return problems
}

// wrongCall: a rate of what may fall, or a change of what only grows, is a number without a meaning.
func wrongCall(all map[string]family, n *parser.Call) []string {
	var problems []string
	if n.Func.Name == "histogram_quantile" && !slices.Contains(labelsOf(all, n.Args[1]), "le") {
		problems = append(problems, "histogram_quantile without the label le")
	}
	for _, arg := range n.Args {
		m, ok := arg.(*parser.MatrixSelector)
		if !ok {
			continue
		}
		v := m.VectorSelector.(*parser.VectorSelector)
		switch kind := all[v.Name].kind; n.Func.Name {
		case "rate", "increase":
			if kind != "counter" {
				problems = append(problems, fmt.Sprintf("%s of %s, a %s", n.Func.Name, v.Name, kind))
			}
		case "delta":
			if kind != "gauge" {
				problems = append(problems, fmt.Sprintf("%s of %s, a %s", n.Func.Name, v.Name, kind))
			}
		}
	}
	return problems
}

// labelsOf are the labels that the result of an expression has.
func labelsOf(all map[string]family, e parser.Expr) []string {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return append(slices.Clone(target), all[e.Name].labels...)
	case *parser.AggregateExpr:
		if e.Op == parser.TOPK {
			return labelsOf(all, e.Expr)
		}
		return e.Grouping
	case *parser.Call:
		for _, arg := range e.Args {
			if l := labelsOf(all, arg); l != nil && e.Func.Name != "vector" {
				return l
			}
		}
	case *parser.BinaryExpr:
		l := labelsOf(all, e.LHS)
		if l == nil {
			l = labelsOf(all, e.RHS)
		}
		if e.VectorMatching != nil {
			l = append(slices.Clone(l), e.VectorMatching.Include...)
		}
		return l
	case *parser.MatrixSelector:
		return labelsOf(all, e.VectorSelector)
	case *parser.ParenExpr:
		return labelsOf(all, e.Expr)
	case *parser.SubqueryExpr:
		return labelsOf(all, e.Expr)
	case *parser.UnaryExpr:
		return labelsOf(all, e.Expr)
	}
	return nil
}

// TestPanelsAskForWhatNodesExport: also a legend names only labels that the series have.
func TestPanelsAskForWhatNodesExport(t *testing.T) {
	all := families(t)
	for _, r := range rows {
		for _, p := range r.panels {
			for _, s := range p.series {
				for _, problem := range wrong(all, expand(s.expr)) {
					t.Errorf("%s: %s: %s", p.title, s.expr, problem)
				}
				e, err := parser.NewParser(parser.Options{}).ParseExpr(grafana.Replace(expand(s.expr)))
				if err != nil {
					continue
				}
				for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(s.legend, -1) {
					if has := labelsOf(all, e); !slices.Contains(has, m[1]) {
						t.Errorf("%s: the legend %q: the series have only %s", p.title, s.legend, has)
					}
				}
			}
		}
	}
}

// TestAlertsAskForWhatNodesExport: docs/alerts.yml is one that Prometheus loads, and each rule can fire.
func TestAlertsAskForWhatNodesExport(t *testing.T) {
	all := families(t)
	raw, err := os.ReadFile("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(raw, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || len(groups.Groups) == 0 {
		t.Fatal("no rules")
	}
	for _, r := range groups.Groups[0].Rules {
		for _, problem := range wrong(all, r.Expr) {
			t.Errorf("%s: %s: %s", r.Alert, r.Expr, problem)
		}
	}
}

// TestWhatIsWrongIsFound: what the tests above look for is what they find.
func TestWhatIsWrongIsFound(t *testing.T) {
	all := families(t)
	for expr, want := range map[string]string{
		`sum(rollcall_ready`:              "unclosed left parenthesis",
		`sum(rollcall_readyy)`:            "nobody exports rollcall_readyy",
		`rollcall_ready{port="api"}`:      "rollcall_ready has no label port",
		`sum by (port) (rollcall_ready)`:  "by (port): what is summed has only",
		`rate(rollcall_ready[5m])`:        "rate of rollcall_ready, a gauge",
		`delta(rollcall_wakes_total[5m])`: "delta of rollcall_wakes_total, a counter",
		`rollcall_write_duration_seconds`: "nobody exports rollcall_write_duration_seconds",
		`histogram_quantile(0.9, sum(rate(rollcall_apply_entries_bucket[5m])))`:          "histogram_quantile without the label le",
		`histogram_quantile(0.9, sum by (le) (rate(rollcall_apply_entries[5m])))`:        "nobody exports rollcall_apply_entries",
		`histogram_quantile(0.9, rate(rollcall_apply_entries_bucket[5m])) > 1`:           "",
		`sum by (le, member) (rate(rollcall_raft_peer_rpc_duration_seconds_bucket[5m]))`: "",
	} {
		got := strings.Join(wrong(all, expr), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
