package cluster_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client/aware"
)

// TestPagesShowCodeThatExists: the Go code of the pages for users of the client is cut from programs that are compiled
// and run, the examples. What differs is only how far it is indented.
func TestPagesShowCodeThatExists(t *testing.T) {
	var programs []string
	for _, pattern := range []string{"../examples/*/*.go", "../client/*/example*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			programs = append(programs, unindented(strings.Split(string(b), "\n")))
		}
	}
	found := 0
	for _, p := range pages(t) {
		if p.file != "docs/clients.md" && p.file != "docs/checks.md" {
			continue
		}
		for _, b := range p.blocks {
			if b.language != "go" {
				continue
			}
			end := b.line
			for fence.FindString(p.lines[end]) == "" {
				end++
			}
			found++
			code := unindented(p.lines[b.line:end])
			if !slices.ContainsFunc(programs, func(program string) bool { return strings.Contains(program, code) }) {
				t.Errorf("%s:%d: no example has these lines", p.file, b.line+1)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d blocks were found", found)
	}
}

func unindented(lines []string) string {
	var b strings.Builder
	b.WriteString("\n")
	for _, l := range lines {
		b.WriteString(strings.TrimSpace(l) + "\n")
	}
	return b.String()
}

// TestPageShowsTheServiceConfig: the one that docs/clients.md gives to clients of all languages is the one of aware.
func TestPageShowsTheServiceConfig(t *testing.T) {
	p := readPage(t, "docs/clients.md")
	k := slices.IndexFunc(p.blocks, func(b block) bool { return b.language == "json" })
	if k < 0 {
		t.Fatal("there is none")
	}
	end := p.blocks[k].line
	for fence.FindString(p.lines[end]) == "" {
		end++
	}
	config, err := aware.ServiceConfig(aware.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var shown, want any
	if err := json.Unmarshal([]byte(strings.Join(p.lines[p.blocks[k].line:end], "\n")), &shown); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(config), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(shown, want) {
		t.Errorf("docs/clients.md:%d: aware has\n%s", p.blocks[k].line, config)
	}
}
