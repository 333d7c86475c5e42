// Package grafana_test makes rollcall.json, a dashboard for Grafana, from the table of its panels, and proves that its
// expressions, and those of docs/alerts.yml, ask for what a node really exports.
package grafana_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

var update = flag.Bool("update", false, "write rollcall.json")

const (
	file        = "rollcall.json"
	ofNodes     = `job="$cluster",instance=~"$node"`
	ofCluster   = `job="$cluster"`
	columns     = 24 // of Grafana's grid
	statWidth   = 4
	seriesWidth = 8
)

type object = map[string]any

var source = object{"type": "prometheus", "uid": "${datasource}"}

// expand puts the labels of the chosen cluster and nodes into an expression.
func expand(expr string) string {
	return strings.ReplaceAll(strings.ReplaceAll(expr, "@@", ofCluster), "@", ofNodes)
}

// build makes the dashboard of the rows.
func build() object {
	var panels []object
	id, y := 0, 0
	place := func(p object, x, w, h int) {
		id++
		p["id"], p["gridPos"] = id, object{"x": x, "y": y, "w": w, "h": h}
		panels = append(panels, p)
	}
	for _, r := range rows {
		place(object{"type": "row", "title": r.title, "collapsed": false, "panels": []object{}}, 0, columns, 1)
		y++
		x, height := 0, 0
		for _, p := range r.panels {
			w, h := seriesWidth, 8
			if p.stat {
				w, h = statWidth, 4
			}
			if x+w > columns || height != 0 && h != height {
				x, y = 0, y+height
			}
			height = h
			place(p.json(), x, w, h)
			x += w
		}
		y += height
	}
	return object{
		"uid": "rollcall", "title": "Rollcall", "description": "A cluster of Rollcall: docs/metrics.md explains each metric, docs/operations.md says what to do.",
		"tags": []string{"rollcall"}, "schemaVersion": 39, "editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time": object{"from": "now-3h", "to": "now"}, "annotations": object{"list": []object{}}, "links": []object{}, "panels": panels,
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1, "multi": false, "includeAll": false},
			variable("cluster", "Cluster (job)", `label_values(rollcall_build_info, job)`, false),
			variable("node", "Node", `label_values(rollcall_build_info{job="$cluster"}, instance)`, true),
		}},
	}
}

// variable is one that asks Prometheus, each time when the range of time changes.
func variable(name, label, query string, all bool) object {
	v := object{"name": name, "label": label, "type": "query", "datasource": source, "definition": query, "hide": 0, "refresh": 2, "sort": 1,
		"query": object{"query": query, "refId": "Variables"}, "multi": all, "includeAll": all}
	if all {
		v["allValue"], v["current"] = ".*", object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}}
	}
	return v
}

func (p panel) json() object {
	kind, options, custom := "timeseries", object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}, object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
	steps := []object{{"color": "green", "value": nil}}
	if p.stat {
		kind, custom, steps = "stat", object{}, nil
		options = object{"graphMode": "none", "colorMode": "value", "justifyMode": "auto", "textMode": "auto", "orientation": "auto", "wideLayout": true,
			"percentChangeColorMode": "standard", "showPercentChange": false,
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}}
		for i, b := range p.bad {
			step := object{"color": b.color, "value": b.from}
			if i == 0 {
				step["value"] = nil
			}
			steps = append(steps, step)
		}
	}
	defaults := object{"unit": p.unit, "custom": custom, "thresholds": object{"mode": "absolute", "steps": steps}}
	if p.mappings != nil {
		texts := object{}
		for value, text := range p.mappings {
			texts[value] = object{"text": text}
		}
		defaults["mappings"] = []object{{"type": "value", "options": texts}}
	}
	var targets []object
	for i, s := range p.series {
		targets = append(targets, object{"refId": string(rune('A' + i)), "datasource": source, "expr": expand(s.expr), "legendFormat": s.legend, "range": !p.stat, "instant": p.stat})
	}
	return object{"type": kind, "title": p.title, "description": p.description, "datasource": source, "targets": targets, "options": options,
		"fieldConfig": object{"defaults": defaults, "overrides": []object{}}}
}

// TestDashboard compares rollcall.json with the table of the panels; -update writes it.
func TestDashboard(t *testing.T) {
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(build()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Errorf("%s is not what the panels say: go test ./... -update in deploy/grafana", file)
	}
}

// TestGrafanaTakesTheDashboard reads the file as Grafana's own types do: no unknown field, no wrong type.
func TestGrafanaTakesTheDashboard(t *testing.T) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range refused(raw) {
		t.Error(problem)
	}
	for name, change := range map[string]func(object){
		"no schema version":             func(d object) { delete(d, "schemaVersion") },
		"an old schema version":         func(d object) { d["schemaVersion"] = 12 },
		"two panels with one id":        func(d object) { d["panels"].([]any)[1].(object)["id"] = 1 },
		"an unknown field of a panel":   func(d object) { d["panels"].([]any)[1].(object)["titel"] = "x" },
		"a panel without a description": func(d object) { delete(d["panels"].([]any)[1].(object), "description") },
		"a panel of another data source": func(d object) {
			d["panels"].([]any)[1].(object)["datasource"] = object{"type": "prometheus", "uid": "P1"}
		},
		"an unknown option of a panel": func(d object) { d["panels"].([]any)[1].(object)["options"].(object)["graph"] = "none" },
		"two panels in one place": func(d object) {
			d["panels"].([]any)[2].(object)["gridPos"] = d["panels"].([]any)[1].(object)["gridPos"]
		},
		"no variable for the data source":    func(d object) { list := d["templating"].(object); list["list"] = list["list"].([]any)[1:] },
		"an unknown field of a query":        func(d object) { d["panels"].([]any)[1].(object)["targets"].([]any)[0].(object)["express"] = "1" },
		"two queries of a panel with one id": func(d object) { d["panels"].([]any)[1].(object)["targets"].([]any)[1].(object)["refId"] = "A" },
	} {
		var d object
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		change(d)
		wrong, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(refused(wrong)) == 0 {
			t.Errorf("%s: nothing is wrong with it", name)
		}
	}
}

// refused says what Grafana, or who looks at the dashboard, would not like.
func refused(raw []byte) []string {
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(raw); failed(err) {
		return []string{err.Error()}
	}
	var parts struct{ Panels []json.RawMessage }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return []string{err.Error()}
	}
	var problems []string
	add := func(where, what string) { problems = append(problems, where+": "+what) }
	if err := d.Validate(); err != nil {
		add("the dashboard", err.Error())
	}
	if d.SchemaVersion < 36 || d.SchemaVersion > dashboard.NewDashboard().SchemaVersion {
		add("the dashboard", "a schema version that Grafana 9 to 12 would have to guess at")
	}
	if d.Uid == nil || *d.Uid == "" || d.Id != nil {
		add("the dashboard", "needs a uid, and no id: an id is one of another Grafana")
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Name == "datasource" && v.Type != dashboard.VariableTypeDatasource {
			add("the variable datasource", "is none")
		}
	}
	if !slices.Equal(names, []string{"datasource", "cluster", "node"}) {
		add("the variables", strings.Join(names, " "))
	}
	ids, cells, titles := map[uint32]bool{}, map[[2]uint32]string{}, map[string]bool{}
	for _, part := range parts.Panels {
		var p dashboard.Panel
		var inside struct {
			Options json.RawMessage
			Targets []json.RawMessage
		}
		if err := json.Unmarshal(part, &inside); err != nil {
			add("a panel", err.Error())
			continue
		}
		if err := json.Unmarshal(part, &p); err == nil && p.Type == "row" {
			var r dashboard.RowPanel
			if err := r.UnmarshalJSONStrict(part); failed(err) || ids[r.Id] {
				add("a row", fmt.Sprint("has the id of another panel, or ", err))
			}
			ids[r.Id] = true
			continue
		}
		p = dashboard.Panel{}
		if err := p.UnmarshalJSONStrict(part); failed(err) {
			add("a panel", err.Error())
			continue
		}
		if p.Title == nil || p.Id == nil || p.GridPos == nil {
			add("a panel", "has no title, id or place")
			continue
		}
		where := *p.Title
		if titles[where] {
			add(where, "the title is there twice")
		}
		titles[where] = true
		if ids[*p.Id] {
			add(where, "the id is there twice")
		}
		ids[*p.Id] = true
		if p.Description == nil || len(*p.Description) < 20 {
			add(where, "does not say what to do")
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]uint32{x, y}]; other != "" && other != where {
					add(where, "lies over "+other)
				}
				cells[[2]uint32{x, y}] = where
			}
		}
		if p.GridPos.X+p.GridPos.W > columns {
			add(where, "is not within the page")
		}
		if p.Datasource == nil || p.Datasource.Uid == nil || *p.Datasource.Uid != "${datasource}" {
			add(where, "asks another data source than the variable's")
		}
		var err error
		switch p.Type {
		case "timeseries":
			err = new(timeseries.Options).UnmarshalJSONStrict(inside.Options)
		case "stat":
			err = new(stat.Options).UnmarshalJSONStrict(inside.Options)
		default:
			add(where, "is a panel of another kind: "+p.Type)
		}
		if failed(err) {
			add(where, err.Error())
		}
		refs := map[string]bool{}
		for _, target := range inside.Targets {
			var query prometheus.Dataquery
			if err := query.UnmarshalJSONStrict(target); failed(err) {
				add(where, err.Error())
			} else if query.RefId == nil || refs[*query.RefId] {
				add(where, "has two queries with one refId, or one without")
			} else {
				refs[*query.RefId] = true
			}
		}
		if len(refs) == 0 {
			add(where, "asks nothing")
		}
	}
	return problems
}

// failed: the strict readers of Grafana's types return a list of errors, empty where all is well.
func failed(err error) bool {
	var list cog.BuildErrors
	return err != nil && !(errors.As(err, &list) && len(list) == 0)
}
