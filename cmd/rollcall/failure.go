package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// Exit statuses. probe has its own.
const (
	exitDone       = 0
	exitNotDone    = 1
	exitNotAsAsked = 4
	exitUnknown    = 5
)

// Reasons of errors that arise here; all others come from the node.
const (
	reasonUsage        = "USAGE"
	reasonInterrupted  = "INTERRUPTED"
	reasonNotAsAsked   = "NOT_AS_ASKED"
	reasonNodeStopped  = "NODE_STOPPED"
	reasonDev          = "DEV"
	reasonNotReachable = "CONNECTION_FAILED"
)

// failure is an error as its reader is told it: one line, what to do next, and an exit status.
type failure struct {
	exit      int
	code      codes.Code
	reason    string
	err       error  // what happened
	next      string // what to do; may be empty
	written   client.Written
	requestID string
	oldest    int64 // revision that is kept, if it was asked for what is not
}

func (f *failure) Error() string {
	line := oneLine(f.err.Error())
	if f.next != "" {
		line += "; " + f.next
	}
	return line
}

func (f *failure) Unwrap() error { return f.err }

// invalid is an error of usage: exit 1, nothing was tried.
func invalid(format string, args ...any) *failure {
	return &failure{
		exit:   exitNotDone,
		code:   codes.InvalidArgument,
		reason: reasonUsage,
		err:    fmt.Errorf(format, args...),
	}
}

// usageError makes one line of an error that cobra found before cmd ran.
func usageError(cmd *cobra.Command, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := invalid("%s", suggest(err))
	f.next = fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
	var missing *pflag.NotExistError
	if errors.As(err, &missing) {
		if near := nearestFlag(cmd, missing.GetSpecifiedName()); near != "" {
			f.next = fmt.Sprintf("did you mean --%s? %s", near, f.next)
		}
	}
	return f
}

// suggest puts cobra's list of suggestions, one a line, into the sentence.
func suggest(err error) string {
	message, list, ok := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if !ok {
		return message
	}
	names := strings.Fields(list)
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	return message + "; did you mean " + strings.Join(names, " or ") + "?"
}

// nearestFlag finds the flag that name was probably meant to be; "" if none is near.
func nearestFlag(cmd *cobra.Command, name string) string {
	const far = 3
	best, distance := "", far
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		d := editDistance(name, f.Name)
		if strings.HasPrefix(f.Name, name) {
			d = 1
		}
		if d < distance {
			best, distance = f.Name, d
		}
	})
	return best
}

// editDistance is Levenshtein's, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// explain turns any error of a command into what is reported.
func (a *app) explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		what := e.Op
		t, ok := errors.AsType[*attempt](err)
		if ok {
			what = t.what
		}
		f := a.explainClient(what, e)
		if ok && t.notFound != "" && e.Code == codes.NotFound {
			f.next = t.notFound
		}
		return f
	}
	f := &failure{exit: exitNotDone, code: codes.Unknown, err: err}
	switch {
	case errors.Is(err, context.Canceled):
		f.code, f.reason = codes.Canceled, reasonInterrupted
		f.err = errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		f.code = codes.DeadlineExceeded
		f.next = "--timeout allows more time"
	}
	return f
}

// report prints f on one line, or as one JSON object.
func (a *app) report(f *failure, asJSON bool) {
	if !asJSON {
		fmt.Fprintf(a.stderr, "rollcall: %s\n", f.Error())
		return
	}
	line, err := json.Marshal(struct {
		Code      string `json:"code"`
		Reason    string `json:"reason"`
		Message   string `json:"message"`
		Written   string `json:"written"`
		RequestID string `json:"request_id"`
		Oldest    int64  `json:"oldest_revision,omitempty"`
	}{codeName(f.code), f.reason, f.Error(), f.written.String(), f.requestID, f.oldest})
	if err != nil {
		line = []byte(`{"code":"INTERNAL"}`)
	}
	io.WriteString(a.stderr, string(line)+"\n")
}

// wantsJSON reads the output format from the raw arguments: the error to print may be that they
// could not be parsed.
func wantsJSON(args []string) bool {
	format := os.Getenv(environmentName("output"))
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "-o" || arg == "--output" {
			if i+1 < len(args) {
				format = args[i+1]
			}
			continue
		}
		for _, prefix := range []string{"--output=", "-o=", "-o"} {
			if v, ok := strings.CutPrefix(arg, prefix); ok {
				format = v
				break
			}
		}
	}
	return strings.EqualFold(format, string(formatJSON))
}

// codeName is a gRPC code as the protocol's documents write it: NOT_FOUND.
func codeName(c codes.Code) string {
	if c == codes.Canceled {
		return "CANCELLED"
	}
	var b strings.Builder
	if c == codes.OK {
		return "OK"
	}
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

func oneLine(s string) string { return strings.Join(strings.FieldsFunc(s, isLineBreak), "; ") }

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }
