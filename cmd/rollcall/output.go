package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatJSON  outputFormat = "json"
)

func (f *outputFormat) String() string {
	if *f == "" {
		return string(formatTable)
	}
	return string(*f)
}

func (f *outputFormat) Set(s string) error {
	switch v := outputFormat(strings.ToLower(s)); v {
	case formatTable, formatJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is no output format; use table or json", s)
}

func (f *outputFormat) Type() string { return "format" }

func (a *app) json() bool { return a.output == formatJSON }

// printMessage writes m as indented JSON.
func (a *app) printMessage(m proto.Message) error {
	b, err := encodeJSON(m)
	if err != nil {
		return err
	}
	return a.printIndented(b)
}

// printObject writes v, anything encoding/json takes, as indented JSON.
func (a *app) printObject(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	return a.printIndented(b)
}

func (a *app) printIndented(b []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// printJSONLine writes v on one line, for output that goes on.
func (a *app) printJSONLine(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(append(b, '\n'))
	return err
}

// table aligns columns that are separated by tabs.
func table(w io.Writer, write func(row func(cells ...string))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	width := 0
	write(func(cells ...string) {
		width = max(width, len(cells))
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	})
	return t.Flush()
}

// age is how long ago t was, in one unit; "-" if t is unset.
func age(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return span(now.Sub(t.AsTime()))
}

// ago is age in words.
func ago(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return age(now, t) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s" // also clocks that differ a little
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	}
	return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
}

func exact(t *timestamppb.Timestamp) string {
	return t.AsTime().UTC().Format(time.RFC3339Nano)
}

// actorName says who reported; "-" if nobody said.
func actorName(r *rollcallv1.Report) string { return dash(r.GetActor().GetName()) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// printable keeps a cell on its line and in its column, whatever a caller wrote into it: control
// characters are shown as Go escapes them.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }) < 0 {
		return s
	}
	q := fmt.Sprintf("%q", s)
	return q[1 : len(q)-1]
}

// shown is a service name for people: "" is seen.
func shown(service string) string {
	if service == "" {
		return `""`
	}
	return printable(service)
}
