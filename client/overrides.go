package client

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// SetOverride has a status shown for every service that pattern covers, whatever is reported of it, for
// WriteOptions.TTL. It makes no service exist. A pattern is "shop/cart" (that service), "shop/*" or "shop.*"
// (all whose names begin with "shop/", "shop."), "*" (all), or "**" (all, and it decides over every other
// pattern: see Shutdown). Of several that cover a service the one that covers least decides. Reports go on
// beneath the override, and show again when it ends.
//
// With WriteOptions.DryRun the answer says which services would change. A change that would break safety rules
// is an error that BrokenRules takes apart.
func (c *Client) SetOverride(ctx context.Context, pattern string, s Status, o WriteOptions) (*rollcallv1.SetOverrideResponse, error) {
	op := c.writing("set override", &o, isConditional(o.IfRevision))
	op.pattern = pattern
	if err := o.refuse(op, optionIfRevision|optionBreakGlass|optionTTL); err != nil {
		return nil, err
	}
	req := &rollcallv1.SetOverrideRequest{
		Pattern:      pattern,
		Status:       &s,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		Forever:      o.TTL == Forever,
		ValidateOnly: o.DryRun,
		BreakGlass:   o.BreakGlass,
	}
	if o.TTL != 0 && o.TTL != Forever {
		req.Ttl = durationpb.New(o.TTL)
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.SetOverride)
}

// ClearOverride ends the override of a pattern: what is reported of its services, or a less specific override,
// shows again.
func (c *Client) ClearOverride(ctx context.Context, pattern string, o WriteOptions) (*rollcallv1.ClearOverrideResponse, error) {
	op := c.writing("clear override", &o, isConditional(o.IfRevision))
	op.pattern = pattern
	if err := o.refuse(op, optionIfRevision|optionAllowMissing|optionBreakGlass); err != nil {
		return nil, err
	}
	req := &rollcallv1.ClearOverrideRequest{
		Pattern:      pattern,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		AllowMissing: o.AllowMissing,
		ValidateOnly: o.DryRun,
		BreakGlass:   o.BreakGlass,
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.ClearOverride)
}

// Shutdown shows every service of the registry as NOT_SERVING, over all other overrides. It ends by itself after
// WriteOptions.TTL, one hour if that is 0, unless Resume ends it before; with Forever only Resume does. It is
// SetOverride of "**". The names of the nodes' own, "" and rollcall.…, do not change.
func (c *Client) Shutdown(ctx context.Context, o WriteOptions) (*rollcallv1.SetOverrideResponse, error) {
	return c.SetOverride(ctx, pattern.Switch, healthpb.HealthCheckResponse_NOT_SERVING, o)
}

// Resume ends a Shutdown: every service shows what it would without it, also what was reported, or overridden,
// meanwhile. It is ClearOverride of "**".
func (c *Client) Resume(ctx context.Context, o WriteOptions) (*rollcallv1.ClearOverrideResponse, error) {
	return c.ClearOverride(ctx, pattern.Switch, o)
}

// ListOverridesOptions are of ListOverrides. The zero value is useful.
type ListOverridesOptions struct {
	PageSize int // 1,000 if 0; at most 10,000
	// AsOf, if not nil, is set to the revision that a page is as of, before its overrides are given; also if
	// there are none.
	AsOf *int64
}

// ListOverrides gives the overrides that have not ended, in the order of their patterns. Pages, fail-over and
// errors are as for List.
func (c *Client) ListOverrides(ctx context.Context, o ListOverridesOptions) iter.Seq2[*rollcallv1.Override, error] {
	return func(yield func(*rollcallv1.Override, error) bool) {
		req := &rollcallv1.ListOverridesRequest{PageSize: int32(min(o.PageSize, 1<<30))} // beyond every limit: for the node to refuse
		op := operation{name: "list overrides"}
		read := c.newReading(ctx, &op, false)
		for revision := int64(0); ; {
			a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
				return rollcallv1.NewRegistryClient(conn).ListOverrides(read.atLeast(ctx, revision), req, o...)
			})
			read.done(a)
			if err != nil {
				yield(nil, err)
				return
			}
			page := a.message.(*rollcallv1.ListOverridesResponse)
			c.learnCluster(page.GetClusterId())
			op.cluster = page.GetClusterId()
			if o.AsOf != nil {
				*o.AsOf = page.GetRevision()
			}
			for _, override := range page.GetOverrides() {
				if !yield(override, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			req.PageToken = page.GetNextPageToken()
			revision = max(revision, page.GetRevision())
		}
	}
}
