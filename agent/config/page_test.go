package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// section returns the section "The file" of docs/agent.md.
func section(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(page), "\n## The file\n")
	text, _, ok2 := strings.Cut(after, "\n## ")
	if !ok || !ok2 {
		t.Fatal("docs/agent.md has no section The file")
	}
	return text
}

// TestExampleOfThePage reads the file of the page.
func TestExampleOfThePage(t *testing.T) {
	_, after, _ := strings.Cut(section(t), "```yaml\n")
	text, _, ok := strings.Cut(after, "```\n")
	if cfg := accept(t, text); !ok || len(cfg.Services) != 2 || len(cfg.Services[0].Checks) != 2 {
		t.Errorf("%+v", cfg)
	}
}

// TestPageHasEveryKey: each key stands in the row of its kind, or of its own, and no row is of a key that is not there.
func TestPageHasEveryKey(t *testing.T) {
	var rows []string
	for line := range strings.Lines(section(t)) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, line)
		}
	}
	used := map[string]bool{}
	find := func(first, key string) {
		for _, row := range rows {
			head, rest, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
			in := head
			if first != "" && !strings.Contains(key, ".") {
				in = rest
			}
			if (first == "" || strings.HasPrefix(head, "`"+first)) && strings.Contains(in, "`"+key+"`") {
				used[row] = true
				return
			}
		}
		t.Errorf("the page has no %s %s", first, key)
	}
	for _, key := range keysOf(reflect.TypeFor[fileLayout]()) {
		index, _ := fieldOf(reflect.TypeFor[fileLayout](), key)
		under := reflect.TypeFor[fileLayout]().FieldByIndex(index).Type
		if under.Kind() != reflect.Struct || reflect.PointerTo(under).Implements(reflect.TypeFor[leaf]()) {
			find("", key)
			continue
		}
		for _, k := range keysOf(under) {
			if strings.Contains(section(t), "`"+key+"."+k+"`") {
				find("", key+"."+k)
			} else {
				find(key+".", "."+k)
			}
		}
	}
	for _, key := range keysOf(reflect.TypeFor[serviceKeys]()) {
		find("", key)
	}
	for _, key := range keysOf(reflect.TypeFor[checkKeys]()) {
		find("", key)
		index, _ := fieldOf(reflect.TypeFor[checkKeys](), key)
		if under := reflect.TypeFor[checkKeys]().FieldByIndex(index).Type; under.Kind() == reflect.Pointer && key != "memory" {
			for _, k := range keysOf(under.Elem()) {
				find(key, k)
			}
		}
	}
	for _, row := range rows {
		if !used[row] {
			if head, _, _ := strings.Cut(row, " |"); head != "| `name`" && head != "| `instance`" { // of two tables
				t.Errorf("the page has a row of no key: %s", row)
			}
		}
	}
}

// TestFaultsOfThePage makes the faults that the page shows.
func TestFaultsOfThePage(t *testing.T) {
	_, after, _ := strings.Cut(section(t), "```text\nrollcall: ")
	shown, _, _ := strings.Cut(after, "```\n")
	text := "cluster: {endpoints: [127.0.0.1:7600]}\ninstance: 10.0.0.7:8080\n\n\nservices:\n  - name: a\n    checks:\n      - load: {}\n        intervall: 5s\n        timeout: 5\n"
	var got strings.Builder
	for _, e := range refuse(t, text).(Errors) {
		got.WriteString("rollcall: " + e.Error() + "\n" + e.Source + "\n")
	}
	if strings.ReplaceAll(got.String(), "rollcall: ", "") != strings.ReplaceAll(shown, "rollcall: ", "") {
		t.Errorf("got\n%s\nthe page has\n%s", got.String(), shown)
	}
}
