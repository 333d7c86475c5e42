package cluster_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A page shows commands and what they print in fenced blocks of the language "console". The words after the
// language say what the tests of this package do with the block:
//
//	console                     run one command after the other, and compare what each prints
//	console terminal=2          run the command in a terminal of its own, where it stays; a later block of
//	                            the same terminal without a command is what it prints next, and a line
//	                            "^C" in it is where it is interrupted
//	console example: REASON     not run, for that reason; but its rollcall commands must exist
//
// TestProcessPages runs the pages. The texts of programs are in blocks of other languages.

// page is a file with blocks.
type page struct {
	file   string // as seen from the root of the repository
	lines  []string
	blocks []block
}

// block is what stands between two fences.
type block struct {
	line     int // of the first line within, counted from 0
	language string
	terminal string
	example  string // why it is not run
	steps    []step // of a console block; the first one of a block that goes on has no command
}

// step is one command and what it prints.
type step struct {
	line    int // where the command stands in the page, or where the output begins if there is none
	command string
	from    int // the output is page.lines[from:to]
	to      int
}

var (
	fence = regexp.MustCompile("^ *```(.*)$")
	info  = regexp.MustCompile(`^(\w+)(?: terminal=(\d+)| example: (.+))?$`)
)

// readPage reads the blocks of a page.
func readPage(t *testing.T, file string) *page {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{file: file, lines: strings.Split(string(b), "\n")}
	for i := 0; i < len(p.lines); i++ {
		open := fence.FindStringSubmatch(p.lines[i])
		if open == nil {
			continue
		}
		end := i + 1
		for end < len(p.lines) && fence.FindString(p.lines[end]) == "" {
			end++
		}
		if end == len(p.lines) {
			t.Fatalf("%s:%d: the block has no end", file, i+1)
		}
		words := info.FindStringSubmatch(open[1])
		if words == nil {
			words = []string{"", "", "", ""} // TestPagesSayWhatIsRun tells
		}
		bl := block{line: i + 1, language: words[1], terminal: words[2], example: words[3]}
		if bl.language == "console" {
			bl.steps = p.steps(i+1, end)
		}
		p.blocks = append(p.blocks, bl)
		i = end
	}
	return p
}

// steps reads the commands between two lines. A command goes on in the next line after a backslash, a loop up to its
// "done", and a text for the command (<<'END') up to that word.
func (p *page) steps(from, end int) []step {
	var steps []step
	for i := from; i < end; i++ {
		command, ok := strings.CutPrefix(p.lines[i], "$ ")
		if !ok {
			if len(steps) == 0 {
				steps = append(steps, step{line: i, from: i})
			}
			steps[len(steps)-1].to = i + 1
			continue
		}
		s := step{line: i, command: command}
		for (strings.HasSuffix(s.command, `\`) || openLoop(s.command) || openText(s.command)) && i+1 < end {
			i++
			s.command += "\n" + p.lines[i]
		}
		s.from, s.to = i+1, i+1
		steps = append(steps, s)
	}
	return steps
}

func openLoop(command string) bool {
	return strings.Contains(command, "; do\n") && !strings.Contains(command, "\ndone") || strings.HasSuffix(command, "; do")
}

var textBegins = regexp.MustCompile(`<<'(\w+)'`)

func openText(command string) bool {
	m := textBegins.FindStringSubmatch(command)
	return m != nil && !strings.Contains(command+"\n", "\n"+m[1]+"\n")
}

// pages are all that may hold commands.
func pages(t *testing.T) []*page {
	t.Helper()
	var all []*page
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "bench/*.md", "cluster_test/*.md", "examples/*.md"} {
		files, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			all = append(all, readPage(t, filepath.ToSlash(strings.TrimPrefix(f, ".."+string(filepath.Separator)))))
		}
	}
	return all
}

// TestPagesSayWhatIsRun finds commands outside of console blocks, which nobody would run.
func TestPagesSayWhatIsRun(t *testing.T) {
	program := regexp.MustCompile(`^(\$ |rollcall |make |go (test|run|build|install) |curl |kill |cd )`)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language == "" {
				t.Errorf("%s:%d: after the fence stands %q: say what the block is, and of a console block what to do with it (see pages_test.go)",
					p.file, b.line, p.lines[b.line-1])
			}
			if b.language == "console" {
				if len(b.steps) == 0 {
					t.Errorf("%s:%d: an empty block", p.file, b.line+1)
				}
				for _, s := range b.steps {
					if s.command == "" && b.terminal == "" {
						t.Errorf("%s:%d: no command stands before this output; commands begin with \"$ \"", p.file, s.line+1)
					}
				}
				continue
			}
			for i := b.line; i < len(p.lines) && fence.FindString(p.lines[i]) == ""; i++ {
				if program.MatchString(p.lines[i]) {
					t.Errorf("%s:%d: a command in a block of language %q: make it a console block", p.file, i+1, b.language)
				}
			}
		}
	}
}

var (
	rollcallCommand = regexp.MustCompile(`(?:^|[|;&(] ?|exec )rollcall((?: [^|;&)#]*)?)`)
	commandFlag     = regexp.MustCompile(`^(--[a-z][a-z-]*|-[a-zA-Z])(=.*)?$`)
)

// TestProcessPagesCommandsExist asks rollcall for the help of every rollcall command in the console blocks,
// also those that are not run, and looks up each of its flags there.
func TestProcessPagesCommandsExist(t *testing.T) {
	needProcesses(t)
	helps := map[string]string{}
	found := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			for _, s := range b.steps {
				for _, m := range rollcallCommand.FindAllStringSubmatch(s.command, -1) {
					words := strings.Fields(strings.ReplaceAll(m[1], "\\\n", " "))
					name := []string{}
					for len(words) > 0 && regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(words[0]) && len(name) < 2 {
						name, words = append(name, words[0]), words[1:]
					}
					key := strings.Join(name, " ")
					if helps[key] == "" {
						out, errOut, code := runBinary(t, append(slices.Clone(name), "--help")...)
						if code != 0 {
							t.Errorf("%s:%d: rollcall %s --help: exit status %d: %s", p.file, s.line+1, key, code, errOut)
						}
						helps[key] = out
					}
					found++
					for _, w := range words {
						f := commandFlag.FindStringSubmatch(w)
						if f != nil && !regexp.MustCompile(`(?m)(^|[ ,])`+regexp.QuoteMeta(f[1])+`\b`).MatchString(helps[key]) {
							t.Errorf("%s:%d: rollcall %s has no flag %s", p.file, s.line+1, key, f[1])
						}
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d commands were found", found)
	}
	t.Log(strconv.Itoa(found) + " commands")
}

var (
	makeCommand  = regexp.MustCompile(`(?:^|[ ;(&` + "`" + `])make ([a-z][a-z-]*)`)
	testCommand  = regexp.MustCompile(`go test (\./[a-z_/]+)[^#` + "`" + `]*`)
	testSelector = regexp.MustCompile(`-(run|bench) +('[^']*'|[^ ` + "`" + `]+)`)
)

// TestPagesNameWhatExists looks up the targets of make, and the tests and benchmarks, that pages tell to run.
func TestPagesNameWhatExists(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets, selected := 0, 0
	for _, p := range pages(t) {
		for i, line := range p.lines {
			for _, m := range makeCommand.FindAllStringSubmatch(line, -1) {
				// In prose, "make" is a word; in code it is a command.
				if !strings.HasPrefix(line, "$ ") && !strings.Contains(line, "`make "+m[1]) {
					continue
				}
				targets++
				if !strings.Contains(string(makefile), "\n"+m[1]+":") {
					t.Errorf("%s:%d: the Makefile has no target %s", p.file, i+1, m[1])
				}
			}
			for _, m := range testCommand.FindAllStringSubmatch(line, -1) {
				var source strings.Builder
				files, _ := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
				for _, f := range files {
					b, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					source.Write(b)
				}
				for _, sel := range testSelector.FindAllStringSubmatch(m[0], -1) {
					pattern, _, _ := strings.Cut(strings.Trim(sel[2], "'"), "/") // what follows names a part
					if pattern == "^$" || pattern == "." {
						continue
					}
					selected++
					kind := map[string]string{"run": "Test", "bench": "Benchmark"}[sel[1]]
					name := regexp.MustCompile(`(?m)^func (` + kind + `\w*)\(`)
					if !slices.ContainsFunc(name.FindAllStringSubmatch(source.String(), -1), func(f []string) bool {
						return regexp.MustCompile(pattern).MatchString(f[1])
					}) {
						t.Errorf("%s:%d: %s has no %s that matches %s", p.file, i+1, m[1], kind, pattern)
					}
				}
			}
		}
	}
	if targets < 10 || selected < 8 {
		t.Errorf("only %d targets and %d tests were found", targets, selected)
	}
}

// TestPagesLinkToWhatExists looks up the files that pages link to or show.
func TestPagesLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#: ]+)(?:#[^)]*)?\)|src="([^":]+)"`)
	found := 0
	for _, p := range pages(t) {
		for i, line := range p.lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				found++
				file := filepath.Join("..", filepath.Dir(p.file), m[1]+m[2])
				if _, err := os.Stat(file); err != nil {
					t.Errorf("%s:%d: links to %s, which is not there", p.file, i+1, m[1]+m[2])
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links were found", found)
	}
}

// TestPagesNameFilesThatExist looks up the source files that pages name by more than their last part.
func TestPagesNameFilesThatExist(t *testing.T) {
	var files []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.ToSlash(strings.TrimPrefix(path, "..")))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z_0-9]+(?:/[a-z_0-9]+)+\\.(?:go|proto|md))`")
	found := 0
	for _, p := range pages(t) {
		for i, line := range p.lines {
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				found++
				if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "/"+m[1]) }) {
					t.Errorf("%s:%d: there is no %s", p.file, i+1, m[1])
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d files were found", found)
	}
}

// TestProcessPagesFlagsExist looks up every flag that the pages name in the help of some command.
func TestProcessPagesFlagsExist(t *testing.T) {
	needProcesses(t)
	known := map[string]bool{"--help": true, "--version": true}
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	command := regexp.MustCompile(`(?m)^  ([a-z][a-z-]+) +[A-Z]`)
	var visit func(name []string)
	visit = func(name []string) {
		out, errOut, code := runBinary(t, append(slices.Clone(name), "--help")...)
		if code != 0 {
			t.Fatalf("%v --help: exit status %d: %s", name, code, errOut)
		}
		_, flags, _ := strings.Cut(out, "Flags:")
		for _, f := range flag.FindAllString(flags, -1) {
			known[f] = true
		}
		if len(name) < 2 {
			for _, m := range command.FindAllStringSubmatch(out, -1) {
				visit(append(slices.Clone(name), m[1]))
			}
		}
	}
	visit(nil)
	code := regexp.MustCompile("`[^`]*`")
	found := 0
	for _, p := range pages(t) {
		if p.file == "CHANGELOG.md" || strings.HasPrefix(p.file, "docs/decisions/") {
			continue // what was once is told there too
		}
		for i, line := range p.lines {
			for _, c := range code.FindAllString(line, -1) {
				for _, f := range flag.FindAllString(c, -1) {
					found++
					if !known[f] {
						t.Errorf("%s:%d: no command has the flag %s", p.file, i+1, f)
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d flags were found", found)
	}
}
