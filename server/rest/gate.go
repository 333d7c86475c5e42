package rest

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Reasons of refusals that only HTTP has.
const (
	ReasonNoRoute      = "NO_ROUTE"           // there is nothing at this path
	ReasonMethod       = "METHOD_NOT_ALLOWED" // the path takes other methods
	ReasonCrossOrigin  = "CROSS_ORIGIN"       // a page of another site made a browser send the change
	ReasonWebWritesOff = "WEB_WRITES_OFF"     // the change comes from somebody who proves no identity
	ReasonHostUnknown  = "HOST_UNKNOWN"       // the node is called by a name that it does not know as its own
	ReasonContentType  = "CONTENT_TYPE"       // the body is not declared as JSON
	ReasonEncoding     = "CONTENT_ENCODING"   // the body is compressed
	ReasonTooLarge     = "REQUEST_TOO_LARGE"
	ReasonBodyTimeout  = "REQUEST_TIMEOUT" // the body did not come in time
)

// admit says whether to answer a request at all. The handlers decide what its sender may do; this is about requests that
// a browser sends although nobody at it wants that. The error is what to answer.
func (h *Handler) admit(ctx context.Context, c *call) error {
	r := c.req
	if c.write {
		if err := h.origin.Check(r); err != nil {
			return h.refused(ctx, c, refuse(http.StatusForbidden, codes.PermissionDenied, ReasonCrossOrigin,
				"the change was sent by a page of another site, and is refused; open the page of this node"))
		}
	}
	caller, err := h.identify(ctx, c)
	if err != nil {
		return err
	}
	if !caller.Verified() && !KnownHost(r, h.cfg.KnownHost) {
		return h.refused(ctx, c, refuse(http.StatusMisdirectedRequest, codes.PermissionDenied, ReasonHostUnknown, "%s", HostUnknown(r)))
	}
	off := !caller.Verified() && !h.cfg.AnonymousWrites
	if off && c.route == whoAmI {
		c.out.Header().Set("Rollcall-Writes", "off") // the page offers no changes then
	}
	if !c.write {
		return nil
	}
	if off {
		return h.refused(ctx, c, refuse(http.StatusForbidden, codes.PermissionDenied, ReasonWebWritesOff,
			`changes over HTTP need an identity: send "Authorization: Bearer" and a token, or show a certificate; for a node on this machine alone there is --web-writes`))
	}
	return h.checkType(r)
}

// whoAmI is the route by which a caller learns who it is.
const whoAmI = "GET /api/v1/whoami"

// identify returns who sent a request.
func (h *Handler) identify(ctx context.Context, c *call) (*authn.Caller, error) {
	caller, failure := h.cfg.Callers.Identify(ctx)
	if failure == nil {
		return caller, nil
	}
	// This time it waits, and is counted, as in every other call with such a token.
	if caller, failure = h.cfg.Callers.Caller(ctx); failure == nil {
		return caller, nil
	}
	return nil, h.refused(ctx, c, failure.AsNotWritten())
}

// refused writes the line of a refusal into the audit log, and returns it.
func (h *Handler) refused(ctx context.Context, c *call, err error) error {
	if h.cfg.Audit == nil {
		return err
	}
	s := statusOf(h.cfg.Node, err)
	e := auditlog.Entry{Peer: c.req.RemoteAddr, Method: c.req.Method + " " + c.req.URL.Path, Outcome: auditlog.Denied}
	switch s.Code() {
	case codes.PermissionDenied:
	case codes.Unauthenticated:
		e.Outcome = auditlog.Unauthenticated
	default:
		return err
	}
	info := rpcerror.InfoOf(s)
	e.Refusal, e.Identity = info.GetReason(), info.GetMetadata()[rpcerror.MetaIdentity]
	if e.Identity == "" && e.Outcome == auditlog.Denied { // "" is for who proves nothing that it claims
		if caller, failure := h.cfg.Callers.Identify(ctx); failure == nil {
			e.Identity = caller.Identity
		}
	}
	h.cfg.Audit.AddRefusal(&e)
	return err
}

// checkType refuses a body that is not declared as JSON: a form of a page, which browsers send to other sites too,
// cannot declare it.
func (h *Handler) checkType(r *http.Request) error {
	values := r.Header.Values("Content-Type")
	if len(values) == 0 && !hasBody(r) {
		return nil
	}
	if encoding := strings.Join(r.Header.Values("Content-Encoding"), ", "); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, codes.InvalidArgument, ReasonEncoding,
			"the body must not be compressed; it is declared as %s", rpcerror.QuoteShort(encoding))
	}
	if len(values) == 1 {
		kind, parameters, err := mime.ParseMediaType(values[0])
		charset, given := parameters["charset"]
		if err == nil && kind == "application/json" && (!given || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return refuse(http.StatusUnsupportedMediaType, codes.InvalidArgument, ReasonContentType,
		`the body must be JSON, with "Content-Type: application/json"; it is declared as %s`, rpcerror.QuoteShort(strings.Join(values, ", ")))
}

// refusal is an error that HTTP has a status of its own for. Nothing was written.
type refusal struct {
	*rpcerror.Failure
	status int
}

// refuse returns a refusal.
func refuse(httpStatus int, code codes.Code, reason, format string, a ...any) *refusal {
	return &refusal{&rpcerror.Failure{
		Reason: reason, Code: code, Message: fmt.Sprintf(format, a...),
		Meta: map[string]string{rpcerror.MetaWritten: rpcerror.WrittenNo},
	}, httpStatus}
}

// Unwrap returns the failure, which becomes the status.
func (r *refusal) Unwrap() error { return r.Failure }

// statusOf is what gRPC would answer in place of an error.
func statusOf(node string, err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.Convert(rpcerror.ToStatus(node, err))
}
