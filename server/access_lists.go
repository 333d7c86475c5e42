package server

import (
	"cmp"
	"context"
	"encoding/base64"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/authz"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// ListRoles implements rollcall.v1.Access.
func (s *accessService) ListRoles(ctx context.Context, _ *rollcallv1.ListRolesRequest) (res *rollcallv1.ListRolesResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.ListRoles", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		if f := s.may(caller, access.Auth); f != nil {
			return f
		}
		if f := flowcontrol.Reserve(ctx, pageEstimate(limits.MaxRoles), false); f != nil {
			return f
		}
		res = &rollcallv1.ListRolesResponse{ClusterId: s.registry.ClusterID()}
		res.Roles, res.Revision = s.source.ListRoles()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ListTokens implements rollcall.v1.Access.
func (s *accessService) ListTokens(ctx context.Context, req *rollcallv1.ListTokensRequest) (res *rollcallv1.ListTokensResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.ListTokens", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		if f := s.may(caller, access.Auth); f != nil {
			return f
		}
		cluster := s.registry.ClusterID()
		after, limit, err := tokensPages.begin(ctx, cluster, req)
		if err != nil {
			return err
		}
		list, more, filtered, revision := s.source.ListTokens(listedFor(caller), after, limit)
		if filtered {
			authz.Filtered(ctx)
		}
		if n := fitting(list, maxAnswerBytes-pageOverhead); n < len(list) {
			list, more = list[:n], true
		}
		res = &rollcallv1.ListTokensResponse{Tokens: list, Revision: revision, ClusterId: cluster}
		if more {
			res.NextPageToken = tokensPages.encode(cluster, list[len(list)-1].GetName())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// ListGrants implements rollcall.v1.Access.
func (s *accessService) ListGrants(ctx context.Context, req *rollcallv1.ListGrantsRequest) (res *rollcallv1.ListGrantsResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Access.ListGrants", false, &err)
	err = s.reading(ctx, func(caller *authn.Caller) error {
		identity := req.GetIdentity()
		if f := s.may(caller, access.Auth); f != nil && (identity == "" || identity != caller.Identity) {
			return f
		}
		if identity != "" {
			var vs violations
			vs.text("identity", limits.Identity(identity))
			if req.GetPageToken() != "" {
				vs.add("page_token", "is given together with identity, of which there is one at most")
			}
			if len(vs) > 0 {
				return rpcerror.Invalid(vs...)
			}
		}
		cluster := s.registry.ClusterID()
		after, limit, err := grantsPages.begin(ctx, cluster, req)
		if err != nil {
			return err
		}
		res = &rollcallv1.ListGrantsResponse{ClusterId: cluster}
		if identity != "" {
			who := listedFor(caller)
			if identity == caller.Identity {
				who = "" // everybody is shown what he was granted himself
			}
			var one *rollcallv1.IdentityGrants
			var filtered bool
			if one, filtered, res.Revision = s.source.ShownGrants(who, identity); one != nil {
				res.Grants = []*rollcallv1.IdentityGrants{one}
			}
			if filtered {
				authz.Filtered(ctx)
			}
			return nil
		}
		var more, filtered bool
		res.Grants, more, filtered, res.Revision = s.source.ListGrants(listedFor(caller), after, limit)
		if filtered {
			authz.Filtered(ctx)
		}
		if n := fitting(res.Grants, maxAnswerBytes-pageOverhead); n < len(res.Grants) {
			res.Grants, more = res.Grants[:n], true
		}
		if more {
			res.NextPageToken = grantsPages.encode(cluster, res.Grants[len(res.Grants)-1].GetIdentity())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// listedFor is for whom a list of access is made: "" for who is shown all of it, whatever he was granted.
func listedFor(caller *authn.Caller) string {
	if caller.StaticAdmin {
		return ""
	}
	return caller.Identity
}

// keyPages are the pages of a list by key. A page token is the format, the cluster, and the last key of the page before.
// Any node of the cluster can go on from it.
type keyPages struct {
	format byte
	method string
	valid  func(key string) *limits.Error
}

var (
	tokensPages = keyPages{8, "ListTokens", limits.TokenName}
	grantsPages = keyPages{9, "ListGrants", limits.Identity}
)

// pageRequest is what every request for a page has.
type pageRequest interface {
	GetPageSize() int32
	GetPageToken() string
}

// begin validates a request and takes the room of its answer. It returns the last key of the page before, "" for the
// first page, and the most that the page may hold.
func (k keyPages) begin(ctx context.Context, cluster string, req pageRequest) (after string, limit int, err error) {
	var vs violations
	vs.pageSize(req.GetPageSize())
	of, after, ok := k.decode(req.GetPageToken())
	if !ok {
		vs.add("page_token", "is not one that %s returned", k.method)
	}
	if len(vs) > 0 {
		return "", 0, rpcerror.Invalid(vs...)
	}
	if after != "" {
		if f := rpcerror.CheckCluster(of, cluster); f != nil {
			return "", 0, f
		}
	}
	limit = cmp.Or(int(req.GetPageSize()), limits.DefaultPageSize)
	if f := flowcontrol.Reserve(ctx, pageEstimate(limit), false); f != nil {
		return "", 0, f
	}
	return after, limit, nil
}

func (k keyPages) encode(cluster, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(appendCluster([]byte{k.format}, cluster), after...))
}

func (k keyPages) decode(token string) (cluster, after string, ok bool) {
	if token == "" {
		return "", "", true
	}
	if len(token) > base64.RawURLEncoding.EncodedLen(1+1+maxClusterIDBytes+limits.MaxIdentityBytes) {
		return "", "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1 || b[0] != k.format {
		return "", "", false
	}
	cluster, b, ok = cutCluster(b[1:])
	if !ok || k.valid(string(b)) != nil {
		return "", "", false
	}
	return cluster, string(b), true
}
