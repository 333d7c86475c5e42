package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/plain"
)

// Exit statuses. probe has its own.
const (
	exitDone       = 0
	exitNotDone    = 1
	exitNotAsAsked = 4
	exitUnknown    = 5
	exitNotPrinted = 6
	exitRemoved    = 7
)

// Reasons of errors that arise here; all others come from the node.
const (
	reasonUsage        = "USAGE"
	reasonInterrupted  = "INTERRUPTED"
	reasonNotAsAsked   = "NOT_AS_ASKED"
	reasonNodeStopped  = "NODE_STOPPED"
	reasonAgentStopped = "AGENT_STOPPED"
	reasonAgentFile    = "AGENT_FILE"
	reasonDev          = "DEV"
	reasonNotReachable = "CONNECTION_FAILED"
	reasonOutput       = "OUTPUT"
)

// failure is an error as it is reported: one line, what to do next, and an exit status.
type failure struct {
	exit      int
	code      codes.Code
	reason    string
	err       error  // what happened
	next      string // what to do; may be empty
	written   client.Written
	made      bool // the change is made; what failed is to say so
	requestID string
	oldest    int64                    // revision that is kept, if an older one was asked for
	cluster   string                   // that the endpoints serve, if another one was asked for
	broken    []*rollcallv1.BrokenRule // that refused the change
	lease     string                   // that refused the change, because it holds the report
	lines     []string                 // for people, in place of the one line: faults of a file, with their places in it
}

func (f *failure) Error() string {
	line := format.Printable(plain.Text(format.OneLine(f.err.Error())))
	if f.next != "" {
		line += "; " + f.next
	}
	return line
}

func (f *failure) Unwrap() error { return f.err }

// invalid returns an error of usage: exit status 1, and nothing was tried.
func invalid(format string, args ...any) *failure {
	return &failure{
		exit:   exitNotDone,
		code:   codes.InvalidArgument,
		reason: reasonUsage,
		err:    fmt.Errorf(format, args...),
	}
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
		switch {
		case !ok:
		case e.Written == client.WrittenUnknown:
			f.next = cmp.Or(t.unknown, f.next)
		case t.next != nil:
			if next, decided := t.next(e); decided {
				f.next = next
			}
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
	if !asJSON && f.lines != nil {
		fmt.Fprintln(a.stderr, strings.Join(f.lines, "\n"))
		return
	}
	if !asJSON {
		fmt.Fprintf(a.stderr, "rollcall: %s\n", f.Error())
		return
	}
	written := f.written.String()
	if f.made {
		written = "yes"
	}
	line, err := apijson.Marshal(struct {
		Code      string            `json:"code"`
		Reason    string            `json:"reason"`
		Message   string            `json:"message"`
		Written   string            `json:"written"`
		RequestID string            `json:"request_id"`
		Oldest    int64             `json:"oldest_revision,omitempty"`
		ClusterID string            `json:"cluster_id,omitempty"`
		Broken    []apijson.Message `json:"broken_rules,omitempty"`
		LeaseID   string            `json:"lease_id,omitempty"`
	}{format.Code(f.code), f.reason, f.Error(), written, f.requestID, f.oldest, f.cluster, apijson.Messages(f.broken), f.lease})
	if err != nil {
		line = []byte(`{"code":"INTERNAL"}`)
	}
	io.WriteString(a.stderr, string(line)+"\n")
}

// wantsJSON reads the output format from the raw arguments. The error to print may be that they cannot be
// parsed.
func wantsJSON(args []string) bool {
	output := os.Getenv(cliflag.EnvironmentName("output"))
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "-o" || arg == "--output" {
			if i+1 < len(args) {
				output = args[i+1]
			}
			continue
		}
		for _, prefix := range []string{"--output=", "-o=", "-o"} {
			if v, ok := strings.CutPrefix(arg, prefix); ok {
				output = v
				break
			}
		}
	}
	return strings.EqualFold(output, string(formatJSON)) || strings.EqualFold(output, string(formatYAML))
}

// Reasons of a node that this command has advice for.
const (
	reasonRevisionMismatch = "REVISION_MISMATCH"
	reasonNotFound         = "NOT_FOUND"
	reasonNotWritten       = "NOT_WRITTEN"
)

// doing adds to err what was tried: "set payments".
func doing(what string, err error) error { return &attempt{what: what, err: err} }

type attempt struct {
	what     string
	err      error
	notFound string // what to do next if it was not found; "": the usual advice
	// next returns what to do next if the change was not made, and whether it decides that. It may be nil.
	next func(*client.Error) (string, bool)
	// unknown is what to do if nobody knows whether it was done; "": repeat it with the same request id.
	unknown string
}

func (t *attempt) Error() string { return fmt.Sprintf("cannot %s: %s", t.what, t.err) }
func (t *attempt) Unwrap() error { return t.err }

// compared is what --if-revision is about.
func compared(what string) (it, its string) {
	if what == shuttingDown || what == resuming {
		return "the override **", "the override's"
	}
	return "it", "its"
}

// explainClient puts an error of the client into a line with what to do next.
func (a *app) explainClient(what string, e *client.Error) *failure {
	f := &failure{
		exit:      exitNotDone,
		code:      e.Code,
		reason:    e.Reason,
		written:   e.Written,
		requestID: e.RequestID,
		oldest:    e.OldestRevision,
		cluster:   e.ClusterID,
		lease:     e.LeaseID,
	}
	message := a.clientMessage(e)
	if e.Written == client.WrittenUnknown {
		f.exit = exitUnknown
		message = unknownOnce.Replace(message)
		f.err = fmt.Errorf("outcome of %s unknown: %s", what, message)
		f.next = fmt.Sprintf("it may have been done, or may still be: repeat it as it was with --request-id %s within ten minutes, and it is done once", e.RequestID)
		return f
	}
	f.err = fmt.Errorf("cannot %s: %s", what, message)
	switch {
	case errors.Is(e, context.Canceled):
		f.reason, f.err = reasonInterrupted, fmt.Errorf("interrupted: %s not done", what)
	case e.Reason == client.ReasonNoEndpoint:
		f.err = errors.New(message)
		f.next = a.connectAdvice(message)
	case e.Reason == reasonRevisionMismatch && e.CurrentRevision == 0:
		it, _ := compared(what)
		f.err = fmt.Errorf("cannot %s: %s does not exist, so it has no revision that --if-revision could name", what, it)
		if strings.HasPrefix(e.Op, "set") {
			f.next = "--if-revision 0 creates it"
		}
	case e.Reason == reasonRevisionMismatch:
		_, its := compared(what)
		f.err = fmt.Errorf("cannot %s: %s revision is %d, and --if-revision asks for another", what, its, e.CurrentRevision)
		f.next = "look at it again before you repeat that"
	case e.Reason == client.ReasonRequestIDReused:
		f.next = "leave --request-id out, or repeat the first command exactly: the same names, statuses, reason and actor"
	case e.Reason == client.ReasonRuleBroken:
		explainBroken(f, e)
	case e.Reason == client.ReasonLeaseHeld:
		explainHeld(f, e)
	case e.Reason == client.ReasonUpgradeIncomplete:
		f.next = `"rollcall status" shows which members are to be upgraded first`
	case e.Reason == reasonNotWritten:
		f.next = `nothing was written, so it can be repeated; "rollcall status" shows what is wrong`
	case e.Reason == client.ReasonCompacted && strings.HasSuffix(e.Op, "events"):
		f.err = fmt.Errorf("cannot %s: events before revision %d are not kept any more", what, e.OldestRevision)
		f.next = fmt.Sprintf("--from %d begins with the oldest, and \"rollcall list --at %d\" shows the state before it", e.OldestRevision, e.OldestRevision-1)
	case e.Reason == client.ReasonCompacted:
		f.err = fmt.Errorf("cannot %s: that is too long ago, events before revision %d are not kept any more", what, e.OldestRevision)
		f.next = fmt.Sprintf("revision %d is the oldest state that is kept", e.OldestRevision-1)
	case errors.Is(e, client.ErrClusterChanged) && a.cluster != "" && strings.HasPrefix(e.ClusterID, a.cluster):
		f.err = fmt.Errorf("cannot %s: --cluster is %s, the beginning of an id", what, format.Printable(a.cluster))
		f.next = "the whole id of the cluster of these endpoints is " + format.Printable(e.ClusterID)
	case errors.Is(e, client.ErrClusterChanged) && a.cluster != "":
		f.err = fmt.Errorf("cannot %s: --cluster asks for %s, and the endpoints serve %s", what, format.Printable(a.cluster), format.Printable(e.ClusterID))
		f.next = "nothing was changed"
	case errors.Is(e, client.ErrClusterChanged):
		f.err = fmt.Errorf("cannot %s: the endpoints serve another cluster now, %s: it was restored from a backup or founded anew, and its revisions begin anew", what, format.Printable(e.ClusterID))
		f.next = "nothing was changed; read again, then repeat it"
		if strings.HasSuffix(e.Op, "events") {
			f.next = "its events are another history; --from 1 begins with its oldest"
		}
	case e.Reason == client.ReasonTimeAhead:
		_, clock, _ := strings.Cut(message, "in the future: ")
		f.err = fmt.Errorf("cannot %s: that time is in the future", what)
		f.next = clock
	case e.Reason == client.ReasonAhead:
		if _, at, ok := strings.Cut(message, "this node is at revision "); ok {
			at, _, _ = strings.Cut(at, ";")
			f.err = fmt.Errorf("cannot %s: there is no such revision yet, the node is at revision %s", what, at)
		}
		f.next = "--min-revision waits until a node is there"
	case accessAdvice(e.Reason, message) != "":
		f.next = accessAdvice(e.Reason, message)
	case e.Code == codes.NotFound:
		f.next = missingAdvice(e)
	case e.Code == codes.DeadlineExceeded:
		f.next = "--timeout allows more time"
	}
	return f
}

// unknownOnce removes what nodes say of an unknown outcome to every program: the line says it already, with the
// request id.
var unknownOnce = strings.NewReplacer(
	"; retry only with the same request_id", "",
	"; outcome unknown, retry only with the same request_id", "",
	"outcome unknown: ", "",
	"; see rollcall status", "",
)

// missingAdvice says where to look for what does not exist: a service, an override, a rule or a lease.
func missingAdvice(e *client.Error) string {
	for _, d := range e.GRPCStatus().Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		switch {
		case !ok:
		case info.GetMetadata()["rule"] != "":
			return ruleAdvice
		case info.GetMetadata()["lease"] != "":
			return leaseAdvice
		case info.GetMetadata()["pattern"] != "":
			return overrideAdvice
		}
	}
	return `"rollcall list" shows the services`
}

const noNodeAdvice = `start a cluster on this machine with "rollcall dev", or name your nodes with --endpoints`

// clientMessage returns what went wrong. If it is not a node's decision it also names the endpoint.
func (a *app) clientMessage(e *client.Error) string {
	message := e.Message
	if message == "" {
		message = format.Code(e.Code)
	}
	if rest, ok := strings.CutPrefix(message, context.DeadlineExceeded.Error()); ok {
		message = fmt.Sprintf("not done within %s", a.timeout) + rest
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unknown, codes.Internal, codes.Unimplemented:
		if e.Endpoint != "" {
			message = e.Endpoint + ": " + message
		}
	}
	return message
}

// noNodeAnswers is the failure of a command that found no node until its time was over.
func (a *app) noNodeAnswers(why string) *failure {
	return &failure{
		exit:   exitNotDone,
		code:   codes.Unavailable,
		reason: client.ReasonNoEndpoint,
		err:    fmt.Errorf("no node answers%s: tried %s", why, strings.Join(a.endpoints, ", ")),
		next:   noNodeAdvice,
	}
}
