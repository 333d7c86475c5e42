// Command webbuild builds the page: TypeScript and CSS under web/src become one script and one style sheet in
// web/dist, which is committed and embedded. The same source gives the same bytes.
//
// Usage: webbuild SRC DIST writes DIST; webbuild -check SRC DIST says whether DIST is up to date.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "webbuild:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	check := len(args) == 3 && args[0] == "-check"
	if check {
		args = args[1:]
	}
	if len(args) != 2 {
		return errors.New("usage: webbuild [-check] SRC DIST")
	}
	src, dist := args[0], args[1]
	files, err := build(src)
	if err != nil {
		return err
	}
	if check {
		return compare(files, dist)
	}
	return write(files, dist)
}

// target is the oldest language that browsers have that the page is for: those of 2022 and later.
const target = api.ES2022

// build returns the files of the page by name.
func build(src string) (map[string][]byte, error) {
	abs, err := filepath.Abs(src)
	if err != nil {
		return nil, err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir: abs,
		EntryPointsAdvanced: []api.EntryPoint{
			{InputPath: "./main.ts", OutputPath: "app"},
			{InputPath: "./app.css", OutputPath: "app"},
		},
		Outdir:            abs, // names only: nothing is written there
		Bundle:            true,
		Format:            api.FormatESModule,
		Target:            target,
		Charset:           api.CharsetUTF8,
		LegalComments:     api.LegalCommentsNone,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		MinifyWhitespace:  true,
	})
	if err := failures(result.Errors, result.Warnings); err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, f := range result.OutputFiles {
		files[filepath.Base(f.Path)] = f.Contents
	}
	for _, name := range []string{"index.html", "icon.svg"} {
		content, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return nil, err
		}
		files[name] = withoutIndent(content)
	}
	return files, nil
}

// failures is what esbuild has to say, warnings too: a page with a warning is not built.
func failures(errs, warnings []api.Message) error {
	lines := slices.Concat(
		api.FormatMessages(errs, api.FormatMessagesOptions{Kind: api.ErrorMessage}),
		api.FormatMessages(warnings, api.FormatMessagesOptions{Kind: api.WarningMessage}),
	)
	if len(lines) == 0 {
		return nil
	}
	return errors.New(strings.TrimSpace(strings.Join(lines, "")))
}

// withoutIndent leaves out the white space at the begin of lines, and lines that are empty.
func withoutIndent(content []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(content) {
		if line = bytes.TrimLeft(line, " \t\r\n"); len(line) > 0 {
			b.Write(line)
		}
	}
	return b.Bytes()
}

func write(files map[string][]byte, dist string) error {
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(dist)
	if err != nil {
		return err
	}
	for _, f := range there {
		if _, ok := files[f.Name()]; !ok {
			if err := os.Remove(filepath.Join(dist, f.Name())); err != nil {
				return err
			}
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dist, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compare says how DIST differs from what would be built.
func compare(files map[string][]byte, dist string) error {
	differ := make(map[string]bool)
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dist, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(got, want) {
			differ[name] = true
		}
	}
	there, err := os.ReadDir(dist)
	if err != nil {
		return err
	}
	for _, f := range there {
		if _, ok := files[f.Name()]; !ok {
			differ[f.Name()] = true
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("%s is out of date (%s): make web", dist, strings.Join(slices.Sorted(maps.Keys(differ)), ", "))
	}
	return nil
}
