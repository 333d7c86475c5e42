package server

import (
	"context"

	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// reads is what every read has: it waits for what the caller asks for by metadata, and knows what the caller may read.
type reads struct {
	freshness.Reads
	access  *authz.Authorizer
	streams *authz.Streams
	denials *authn.Denials
}

// admitted is a call that was let in.
type admitted struct {
	freshness.Heading
	caller *authn.Caller // nil: nobody looked
	may    *authz.Reader
}

// admit finds out who calls, and waits for what the call asks for by metadata. It refuses a caller who may do nothing at
// all, and tells it nothing else. What the caller may read is as of after the wait: so it is of the same age as what is
// read.
//
// look: always look who calls. Without it nobody looks while everybody may read everything.
func (r *reads) admit(ctx context.Context, look bool, await func(context.Context) (freshness.Heading, error)) (call admitted, err error) {
	if look || !r.access.Open() {
		if call.caller, err = r.known(ctx); err != nil {
			return admitted{}, err
		}
	}
	heading, err := await(ctx)
	if call.caller == nil {
		if r.access.Open() {
			return admitted{Heading: heading, may: authz.Everybody()}, err
		}
		var unknown error
		if call.caller, unknown = r.known(ctx); unknown != nil {
			return admitted{}, unknown
		}
	}
	if f := r.access.Still(call.caller); f != nil {
		return admitted{}, f
	}
	if call.may = r.access.Of(call.caller); call.may.Nothing() {
		return admitted{}, r.deny(call.may.DeniedPrefixes())
	}
	call.Heading = heading
	return call, err
}

// known returns who calls. It refuses at once who proves no identity where that is needed for everything. Who does may
// have been granted something that this node has not heard of yet.
func (r *reads) known(ctx context.Context) (*authn.Caller, error) {
	caller, f := r.access.Caller(ctx)
	if f != nil {
		return nil, f
	}
	if may := r.access.Of(caller); !caller.Verified() && may.Nothing() {
		return nil, r.deny(may.DeniedPrefixes())
	}
	return caller, nil
}

// admitToRegistry is admit of a call that reads the registry, and looks who calls.
func (r *reads) admitToRegistry(ctx context.Context) (admitted, error) {
	return r.admit(ctx, true, r.AwaitRegistry)
}

// answered sets the headers of a call. filtered: the answer leaves out what the caller may not read.
func (r *reads) answered(ctx context.Context, call admitted, filtered bool) {
	r.SetHeader(ctx, call.Heading)
	if filtered {
		authz.Filtered(ctx)
	}
}

// deny counts a refusal of what a caller may not do, and returns it; nil for nil.
func (r *reads) deny(f *rpcerror.Failure) error {
	if f != nil {
		r.denials.Count(f)
	}
	return failed(f)
}

// failed returns an error of a handler that f may be. (A nil *Failure is an error that is not nil.)
func failed(f *rpcerror.Failure) error {
	if f == nil {
		return nil
	}
	return f
}
