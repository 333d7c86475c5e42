package server

import (
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// standing says why the caller of a stream that writes or renews may not go on: its credential is none any more, or it
// may report nothing. nil: it may, as far as this node knows. What it writes is looked at again in the fold.
func (a *admin) standing(caller *authn.Caller) *rpcerror.Failure {
	if f := a.callers.Still(caller); f != nil {
		return f
	}
	now := a.access.Access()
	if caller.StaticAdmin || !now.Enforced() || now.Permissions(caller.Identity).Some(access.Report) {
		return nil
	}
	return rpcerror.Denied(caller.Identity, access.Report, "")
}

// tokens are the tokens of the registry.
type tokens struct{ Access }

func (t tokens) Generation() int64 { return t.Access.Access().Generation() }

func (t tokens) Token(id string) (name string, token *logv1.Token) {
	return t.Access.Access().Token(id)
}

func (t tokens) Changed() <-chan struct{} { return t.AccessChanged() }
