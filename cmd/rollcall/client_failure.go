package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// Reasons of a node that this command has advice for.
const (
	reasonRevisionMismatch = "REVISION_MISMATCH"
	reasonNotWritten       = "NOT_WRITTEN"
)

// doing says what was tried when err happened: "set payments".
func doing(what string, err error) error { return &attempt{what: what, err: err} }

type attempt struct {
	what     string
	err      error
	notFound string // what to do next if it was not found; "" stands for the usual
}

func (t *attempt) Error() string { return fmt.Sprintf("cannot %s: %s", t.what, t.err) }
func (t *attempt) Unwrap() error { return t.err }

// explainClient puts an error of the client into a line with what to do next.
func (a *app) explainClient(what string, e *client.Error) *failure {
	f := &failure{
		exit:      exitNotDone,
		code:      e.Code,
		reason:    e.Reason,
		written:   e.Written,
		requestID: e.RequestID,
		oldest:    e.OldestRevision,
	}
	message := a.clientMessage(e)
	if e.Written == client.WrittenUnknown {
		f.exit = exitUnknown
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
		f.next = noNodeAdvice
	case e.Reason == reasonRevisionMismatch && e.CurrentRevision == 0:
		f.next = "it does not exist; --if-revision 0 creates it"
	case e.Reason == reasonRevisionMismatch:
		f.next = fmt.Sprintf("its revision is %d now", e.CurrentRevision)
	case e.Reason == reasonNotWritten:
		f.next = `nothing was written, so it can be repeated; "rollcall status" shows what is wrong`
	case e.Reason == client.ReasonCompacted && strings.HasSuffix(e.Op, "events"):
		f.err = fmt.Errorf("cannot %s: events before revision %d are not kept any more", what, e.OldestRevision)
		f.next = fmt.Sprintf("--from %d begins with the oldest, and \"rollcall list --at %d\" shows the state before it", e.OldestRevision, e.OldestRevision-1)
	case e.Reason == client.ReasonCompacted:
		f.err = fmt.Errorf("cannot %s: that is too long ago, events before revision %d are not kept any more", what, e.OldestRevision)
		f.next = fmt.Sprintf("revision %d is the oldest state that is kept", e.OldestRevision-1)
	case e.Reason == client.ReasonAhead:
		f.next = "--min-revision waits until a node is there"
	case e.Code == codes.NotFound:
		f.next = `"rollcall list" shows the services`
	case e.Code == codes.DeadlineExceeded:
		f.next = "--timeout allows more time"
	}
	return f
}

const noNodeAdvice = `start a cluster on this machine with "rollcall dev", or name the nodes of yours with --endpoints`

// clientMessage is what went wrong, and where if it is not a node's considered answer.
func (a *app) clientMessage(e *client.Error) string {
	message := e.Message
	if message == "" {
		message = codeName(e.Code)
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

// noNodeAnswers is for commands that try again until their time is over.
func (a *app) noNodeAnswers(why string) *failure {
	return &failure{
		exit:   exitNotDone,
		code:   codes.Unavailable,
		reason: client.ReasonNoEndpoint,
		err:    fmt.Errorf("no node answers%s: tried %s", why, strings.Join(a.endpoints, ", ")),
		next:   noNodeAdvice,
	}
}
