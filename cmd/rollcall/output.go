package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatWide  outputFormat = "wide"
	formatName  outputFormat = "name"
	formatJSON  outputFormat = "json"
	formatYAML  outputFormat = "yaml"
)

var outputFormats = []string{string(formatTable), string(formatWide), string(formatName), string(formatJSON), string(formatYAML)}

func (f *outputFormat) String() string {
	if *f == "" {
		return string(formatTable)
	}
	return string(*f)
}

func (f *outputFormat) Set(s string) error {
	v := strings.ToLower(s)
	if !slices.Contains(outputFormats, v) {
		return fmt.Errorf("%q is no output format; use %s", s, format.Alternatives(outputFormats))
	}
	*f = outputFormat(v)
	return nil
}

func (f *outputFormat) Type() string { return "format" }

// colorMode is the value of --color.
type colorMode string

const (
	colorAuto   colorMode = "auto"
	colorAlways colorMode = "always"
	colorNever  colorMode = "never"
)

var colorModes = []string{string(colorAuto), string(colorAlways), string(colorNever)}

func (m *colorMode) String() string {
	if *m == "" {
		return string(colorAuto)
	}
	return string(*m)
}

func (m *colorMode) Set(s string) error {
	v := strings.ToLower(s)
	if !slices.Contains(colorModes, v) {
		return fmt.Errorf("%q is no color mode; use %s", s, format.Alternatives(colorModes))
	}
	*m = colorMode(v)
	return nil
}

func (m *colorMode) Type() string { return "when" }

// colors reports whether what is for people is in colours. NO_COLOR is the convention of no-color.org; a flag
// wins over it.
func (a *app) colors() bool {
	switch a.color {
	case colorAlways:
		return true
	case colorNever:
		return false
	}
	return os.Getenv("NO_COLOR") == "" && format.IsTerminal(terminalOf(a.stdout))
}

// paint returns text in a tone, if colours are shown.
func (a *app) paint(text string, t format.Tone) string {
	if a.colors() {
		return format.Paint(text, t)
	}
	return text
}

// forPrograms reports whether the output is JSON or YAML: then it says all, and errors are JSON.
func (a *app) forPrograms() bool { return a.output == formatJSON || a.output == formatYAML }

// forPeople reports whether the output is a table or text.
func (a *app) forPeople() bool { return !a.forPrograms() && a.output != formatName }

// hasNames marks a command whose answer has names to print with -o name.
const hasNames = "rollcall_has_names"

func named(cmd *cobra.Command) *cobra.Command {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[hasNames] = "true"
	return cmd
}

// checkOutput refuses an output format that a command cannot give, before anything is done.
func (a *app) checkOutput(cmd *cobra.Command) error {
	if a.output == formatName && cmd.Annotations[hasNames] == "" {
		return invalid("%q has no names to print: -o name is for commands that show services or nodes", cmd.CommandPath())
	}
	return nil
}

// print writes one answer: v, anything encoding/json takes, for programs; names for -o name; else what people
// writes.
func (a *app) print(v any, names []string, people func() error) error {
	switch a.output {
	case formatJSON:
		b, err := apijson.Indented(v)
		return a.write(append(b, '\n'), err)
	case formatYAML:
		return a.write(format.YAML(v))
	case formatName:
		return a.printNames(names...)
	}
	return people()
}

// printPart is print for output that goes on: JSON is one object a line, YAML one document.
func (a *app) printPart(v any, names []string, people func() error) error {
	switch a.output {
	case formatJSON:
		b, err := apijson.Marshal(v)
		return a.write(append(b, '\n'), err)
	case formatYAML:
		b, err := format.YAML(v)
		return a.write(append([]byte("---\n"), b...), err)
	case formatName:
		return a.printNames(names...)
	}
	return people()
}

func (a *app) write(b []byte, err error) error {
	if err == nil {
		_, err = a.stdout.Write(b)
	}
	return err
}

// printNames writes names as they are: what reads them compares them. A name holds no line break.
func (a *app) printNames(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return a.write([]byte(strings.Join(names, "\n")+"\n"), nil)
}

// printMessage writes m for programs, or what people writes.
func (a *app) printMessage(m proto.Message, names []string, people func() error) error {
	return a.print(apijson.Message{Message: m}, names, people)
}

// printWrite writes the answer to a change, for programs, or what people writes. If it cannot be written, the
// command says that the change is made: see finish.
func (a *app) printWrite(resp proto.Message, dryRun bool, people func(w io.Writer), names ...string) error {
	var text bytes.Buffer
	people(&text)
	if !dryRun && !unchanged(resp) {
		a.did = strings.TrimSpace(text.String())
	}
	return a.print(changeJSON{resp, dryRun}, names, func() error { return a.write(text.Bytes(), nil) })
}

// unchanged reports an answer that says that everything was so already.
func unchanged(resp proto.Message) bool {
	switch r := resp.(type) {
	case interface{ GetChanged() bool }:
		return !r.GetChanged()
	case interface{ GetChangedCount() int32 }:
		return r.GetChangedCount() == 0
	case *rollcallv1.ClearOverrideResponse:
		return r.GetOverride() == nil
	}
	return false
}

// changeJSON is the answer to a change. That of a dry run says so, and has no revision.
type changeJSON struct {
	resp   proto.Message
	dryRun bool
}

func (c changeJSON) MarshalJSON() ([]byte, error) {
	if !c.dryRun {
		return apijson.Message{Message: c.resp}.MarshalJSON()
	}
	resp := proto.Clone(c.resp)
	if revision := resp.ProtoReflect().Descriptor().Fields().ByName("revision"); revision != nil {
		resp.ProtoReflect().Clear(revision) // some nodes tell the registry's
	}
	b, err := apijson.Message{Message: resp}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	rest, first := bytes.TrimPrefix(b, []byte("{")), []byte(`{"dry_run":true,`)
	if string(rest) == "}" {
		first = first[:len(first)-1]
	}
	return append(first, rest...), nil
}

// printObject writes v for programs, or what people writes.
func (a *app) printObject(v any, people func() error) error { return a.print(v, nil, people) }

// printJSONLine writes v on one line, for programs that follow what a command goes on to do.
func (a *app) printJSONLine(v any) error {
	return a.printPart(v, nil, func() error { return nil })
}

var _ json.Marshaler = changeJSON{}

// actorName returns who reported; "-" if nobody said.
func actorName(r *rollcallv1.Report) string { return explain.ActorOrDash(r.GetActor()) }
