package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
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
	b, err := format.Message(m)
	if err != nil {
		return err
	}
	return a.printIndented(b)
}

// printObject writes v, anything encoding/json takes, as indented JSON.
func (a *app) printObject(v any) error {
	b, err := format.Marshal(v)
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
	b, err := format.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(append(b, '\n'))
	return err
}

// actorName returns who reported; "-" if nobody said.
func actorName(r *rollcallv1.Report) string { return format.OrDash(r.GetActor().GetName()) }
