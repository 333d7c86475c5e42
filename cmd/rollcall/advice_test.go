package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// advised finds command lines: in quotes, in backquotes, or alone on a line, as examples are.
var advised = regexp.MustCompile(`(?m)"rollcall ([^"\n]*)"|` + "`rollcall ([^`\n]*)`" + `|^\s*(?:\$ )?rollcall ((?:[^\n]*\\\n)*[^\n]*)$|<\(rollcall ([^)\n]*)\)`)

// anyFlag finds the long and the short flags of a command line.
var anyFlag = regexp.MustCompile(`(?:^|\s)(--?)([a-zA-Z][a-z-]*)`)

// adviceOf returns the command lines that a text names.
func adviceOf(text string) []string {
	var lines []string
	for _, m := range advised.FindAllStringSubmatch(text, -1) {
		for _, line := range m[1:] {
			if line != "" {
				lines = append(lines, strings.ReplaceAll(line, "\\\n", " "))
			}
		}
	}
	return lines
}

// checkAdvice finds the command of a line and looks up its flags. It returns the command's path.
func checkAdvice(t *testing.T, where, line string) string {
	t.Helper()
	// What follows a comment, a pipe or a redirection is no part of it. In usage, alternatives stand with "|".
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(line, " > ")
	words := probeArguments(strings.Fields(line))
	cmd := testRoot()
	for cmd.HasAvailableSubCommands() && len(words) > 0 {
		name := strings.Trim(words[0], ".,;:)")
		if strings.HasPrefix(name, "-") || strings.Contains(name, "%") || strings.Contains(name, "|") || name == "COMMAND" || name == "[command]" || name == "[COMMAND]" {
			break
		}
		var next *cobra.Command
		for _, c := range cmd.Commands() {
			if c.Name() == name || c.HasAlias(name) {
				next = c
			}
		}
		if next == nil {
			t.Errorf("%s: %q names %q, which is no command of %q", where, "rollcall "+line, name, cmd.CommandPath())
			return ""
		}
		cmd, words = next, words[1:]
	}
	flagsOf(cmd)
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	for _, m := range anyFlag.FindAllStringSubmatch(strings.Join(words, " "), -1) {
		f := cmd.Flags().Lookup(m[2])
		if m[1] == "-" {
			f = cmd.Flags().ShorthandLookup(m[2][:1])
		}
		if f == nil {
			t.Errorf("%s: %q names %s%s, which %q does not have", where, "rollcall "+line, m[1], m[2], cmd.CommandPath())
		}
	}
	return cmd.CommandPath()
}

// Whoever does what an error, a help text or a page says finds the command and all its flags.
func TestAdviceCanBeFollowed(t *testing.T) {
	found := map[string]int{}
	paths := map[string]bool{}
	look := func(kind, where, text string) {
		for _, line := range adviceOf(text) {
			found[kind]++
			if path := checkAdvice(t, where, line); path != "" {
				paths[path] = true
			}
		}
	}
	walk(testRoot(), func(cmd *cobra.Command) {
		look("help", cmd.CommandPath(), cmd.Long+"\n"+cmd.Example)
		for _, f := range flagsOf(cmd) {
			look("help", cmd.CommandPath()+" --"+f.Name, f.Usage)
		}
	})
	const top = "../.."
	// Decisions also speak of commands that were considered and do not exist.
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "decisions" || d.Name() == "testdata" || d.Name() == "bench" || d.Name() == "tools" || strings.HasPrefix(d.Name(), ".") && path != top):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			look("pages", path, string(text))
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".pb.go"):
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						// The first argument of %q in an error: "rollcall get --help".
						switch {
						case !strings.HasPrefix(text, "rollcall "):
						case strings.HasSuffix(text, "\n"):
							return true // printed, and no command
						default:
							text = strconv.Quote(text)
						}
						look("errors", files.Position(lit.Pos()).String(), text)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[string]int{"help": 80, "errors": 100, "pages": 100} {
		if found[kind] < least {
			t.Errorf("only %d command lines in %s, want at least %d: are they still found?", found[kind], kind, least)
		}
	}
	for path := range paths {
		args := append(strings.Fields(path)[1:], "--help")
		if r := rollcall(t, args...); r.code != exitDone || r.stdout == "" {
			t.Errorf("rollcall %s: %v", args, r)
		}
	}
}

// The test above finds what is wrong.
func TestAdviceThatCannotBeFollowedIsFound(t *testing.T) {
	for _, text := range []string{`see "rollcall member exchange"`, "`rollcall get --nope`", "  rollcall serve \\\n    --nope", "$ rollcall snapshot make"} {
		lines := adviceOf(text)
		if len(lines) != 1 {
			t.Fatalf("%q: found %q", text, lines)
		}
		var fake testing.T
		checkAdvice(&fake, "", lines[0])
		if !fake.Failed() {
			t.Errorf("%q passes", text)
		}
	}
}
