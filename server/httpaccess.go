package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/auditlog"
	"github.com/rollcallhq/rollcall/server/rest"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// StatusOnly has next answer callers who have the verb status, and refuses others in one line. They show a token, as
// "Authorization: Bearer rct_...", or the certificate of their connection. While everybody has the verb they need show
// nothing, but a token that proves nothing is refused all the same: who shows one is to learn that it is of no use.
func (s *Server) StatusOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.everybodyMay(access.Status) && !s.showsToken(r) {
			next.ServeHTTP(w, r)
			return
		}
		if refusal := s.refuseHTTP(r, access.Status); refusal != nil {
			code := http.StatusForbidden
			if refusal.Reason != rpcerror.ReasonDenied {
				code = http.StatusUnauthorized
				w.Header().Set("WWW-Authenticate", `Bearer realm="rollcall"`)
			}
			http.Error(w, refusal.Message, code)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ByOwnName has next answer requests that call this node by a name of its own, and refuses others in one line, unless their
// sender proves who it is: a page of a stranger may have sent them. It is for pages that people and programs open by an
// address or a name of the node, as the API (decision 61).
func (s *Server) ByOwnName(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rest.KnownHost(r, s.cfg.KnownHost) {
			if caller, failure := s.callers.Identify(rest.Caller(r)); failure != nil || !caller.Verified() {
				if s.cfg.Audit != nil {
					s.cfg.Audit.AddRefusal(&auditlog.Entry{Peer: r.RemoteAddr, Method: r.Method + " " + r.URL.Path, Outcome: auditlog.Denied, Refusal: rest.ReasonHostUnknown})
				}
				http.Error(w, rest.HostUnknown(r), http.StatusMisdirectedRequest)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) everybodyMay(verb access.Verbs) bool {
	now := s.access.Access()
	return !now.Enforced() || now.Permissions(limits.AnonymousIdentity).Whole(verb)
}

// showsToken says whether a request has a credential in its header. While access is not enforced, only a Bearer token is
// one: what a proxy adds for others says nothing then.
func (s *Server) showsToken(r *http.Request) bool {
	values := r.Header.Values("Authorization")
	if s.access.Access().Enforced() {
		return len(values) > 0
	}
	return slices.ContainsFunc(values, func(v string) bool {
		scheme, _, _ := strings.Cut(strings.TrimSpace(v), " ")
		return strings.EqualFold(scheme, "bearer")
	})
}

// refuseHTTP says why the caller of a request may not do something; nil: it may.
func (s *Server) refuseHTTP(r *http.Request, verb access.Verbs) (refusal *rpcerror.Failure) {
	caller, refusal := s.callers.Caller(rest.Caller(r))
	switch {
	case refusal != nil:
	case !s.access.Access().Enforced():
		return nil
	case caller.StaticAdmin || s.access.Access().Permissions(caller.Identity).Whole(verb):
		return nil
	case !caller.Verified():
		refusal = rpcerror.Unauthenticated(rpcerror.ReasonNoCredentials,
			"%s needs the verb %s: send \"Authorization: Bearer\" and a token, or show a certificate", r.URL.Path, verb.Names()[0])
		refusal.Meta[rpcerror.MetaVerb] = verb.Names()[0]
	default:
		refusal = rpcerror.Denied(caller.Identity, verb, pattern.All)
	}
	s.denials.Count(refusal)
	if s.cfg.Audit != nil {
		e := auditlog.Entry{Peer: r.RemoteAddr, Method: fmt.Sprintf("%s %s", r.Method, r.URL.Path)}
		explain(&e, status.Convert(rpcerror.ToStatus(s.cfg.Node, refusal)))
		s.cfg.Audit.AddRefusal(&e)
	}
	return refusal
}
