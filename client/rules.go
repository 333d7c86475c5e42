package client

import (
	"context"

	"google.golang.org/grpc"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Rule is a safety rule as SetRule sets it: so many of the services that Pattern covers must be SERVING. One
// of the two bounds at least must be given.
type Rule struct {
	Name       string // 1 to 64 bytes, as a service's
	Pattern    string // as an override's, but "**"
	MinServing int64  // 1 or more; 0: no such bound
	MinPercent int    // 1 to 100 percent of the services there are, rounded up; 0: no such bound
	// EnforceReports makes the rule bind reports that have a lease, too.
	EnforceReports bool
}

// SetRule sets a rule, or changes the one of that name. From then on a change that would break the rule, or
// would make it worse if it is broken, is refused: its error is one that BrokenRules takes apart. A rule may be
// broken when it is set: then the answer's rule has fewer serving than needed.
func (c *Client) SetRule(ctx context.Context, r Rule, o WriteOptions) (*rollcallv1.SetRuleResponse, error) {
	op := c.writing("set rule", &o, isConditional(o.IfRevision))
	op.rule = r.Name
	if err := o.refuse(op, optionIfRevision); err != nil {
		return nil, err
	}
	req := &rollcallv1.SetRuleRequest{
		Name:           r.Name,
		Pattern:        r.Pattern,
		EnforceReports: r.EnforceReports,
		Reason:         o.Reason,
		Actor:          o.Actor,
		RequestId:      o.RequestID,
		IfRevision:     o.IfRevision,
		ValidateOnly:   o.DryRun,
	}
	if r.MinServing != 0 {
		req.MinServing = &r.MinServing
	}
	if r.MinPercent != 0 {
		percent := int32(min(max(r.MinPercent, -1<<30), 1<<30)) // beyond every limit: for the node to refuse
		req.MinPercent = &percent
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.SetRule)
}

// RemoveRule removes the rule of a name.
func (c *Client) RemoveRule(ctx context.Context, name string, o WriteOptions) (*rollcallv1.RemoveRuleResponse, error) {
	op := c.writing("remove rule", &o, isConditional(o.IfRevision))
	op.rule = name
	if err := o.refuse(op, optionIfRevision|optionAllowMissing); err != nil {
		return nil, err
	}
	req := &rollcallv1.RemoveRuleRequest{
		Name:         name,
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		IfRevision:   o.IfRevision,
		AllowMissing: o.AllowMissing,
		ValidateOnly: o.DryRun,
	}
	return change(ctx, c, op, req, rollcallv1.AdminClient.RemoveRule)
}

// ListRules returns all rules, by name, each with how many services it needs to be SERVING and how many are, as
// one node knows it, or as [WithReadOptions] says.
func (c *Client) ListRules(ctx context.Context) (*rollcallv1.ListRulesResponse, error) {
	op := operation{name: "list rules"}
	read := c.newReading(ctx, &op, false)
	a, err := c.run(ctx, op, func(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) (any, error) {
		return rollcallv1.NewRegistryClient(conn).ListRules(read.outgoing(ctx), &rollcallv1.ListRulesRequest{}, o...)
	})
	read.done(a)
	if err != nil {
		return nil, err
	}
	resp := a.message.(*rollcallv1.ListRulesResponse)
	c.learnCluster(resp.GetClusterId())
	return resp, nil
}
