package client

import (
	"context"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// NewToken is what CreateToken makes.
type NewToken struct {
	Name        string // as a service's, 1 to 64 bytes; its holder is token:NAME
	Grants      []*rollcallv1.Grant
	TTL         time.Duration // 1 s to 10 years; 0: until it is revoked
	Description string
	// Secret is the token itself; the zero value: CreateToken makes one. It is for who repeats a call of unknown
	// outcome.
	Secret accesstoken.Token
}

// CreateToken makes a token, and returns it: its Text is what its holder sends, see [Config].TokenFile. Nobody else
// knows it, because only a hash leaves this process, and nobody can be asked for it later. If the outcome is unknown
// ([IsUnknown]), the token is returned with the error: the same call with it as NewToken.Secret and the same
// WriteOptions.RequestID asks again. With any other error, and with WriteOptions.DryRun, it is the zero value.
func (c *Client) CreateToken(ctx context.Context, t NewToken, o WriteOptions) (accesstoken.Token, *rollcallv1.CreateTokenResponse, error) {
	op := c.writing("create token", &o, false)
	op.access = t.Name
	if err := o.refuse(op, 0); err != nil {
		return accesstoken.Token{}, nil, err
	}
	secret := t.Secret
	if secret.ID() == "" {
		secret = accesstoken.New()
	}
	sum := secret.SHA256()
	req := &rollcallv1.CreateTokenRequest{
		Name:         t.Name,
		Grants:       slices.Clone(t.Grants),
		Description:  t.Description,
		SecretSha256: sum[:],
		Reason:       o.Reason,
		Actor:        o.Actor,
		RequestId:    o.RequestID,
		ValidateOnly: o.DryRun,
	}
	if t.TTL != 0 {
		req.Ttl = durationpb.New(t.TTL)
	}
	resp, err := changeAccess(ctx, c, op, req, rollcallv1.AccessClient.CreateToken)
	if err != nil && !IsUnknown(err) || o.DryRun {
		secret = accesstoken.Token{}
	}
	return secret, resp, err
}

// RevokeToken deletes a token, by its name, and its grants. From that revision on it writes nothing, and what it watches
// ends within a second.
func (c *Client) RevokeToken(ctx context.Context, name string, o WriteOptions) (*rollcallv1.RevokeTokenResponse, error) {
	return c.revokeToken(ctx, name, &rollcallv1.RevokeTokenRequest{Name: name}, o)
}

// RevokeTokenID is RevokeToken by the token's id, the ID of rct_ID_…: for a token that was found, and whose name nobody
// knows.
func (c *Client) RevokeTokenID(ctx context.Context, id string, o WriteOptions) (*rollcallv1.RevokeTokenResponse, error) {
	return c.revokeToken(ctx, id, &rollcallv1.RevokeTokenRequest{Id: id}, o)
}

func (c *Client) revokeToken(ctx context.Context, subject string, req *rollcallv1.RevokeTokenRequest, o WriteOptions) (*rollcallv1.RevokeTokenResponse, error) {
	op := c.writing("revoke token", &o, false)
	op.access = subject
	if err := o.refuse(op, optionAllowMissing); err != nil {
		return nil, err
	}
	req.Reason, req.Actor, req.RequestId = o.Reason, o.Actor, o.RequestID
	req.AllowMissing, req.ValidateOnly = o.AllowMissing, o.DryRun
	return changeAccess(ctx, c, op, req, rollcallv1.AccessClient.RevokeToken)
}

// ListTokensOptions are of ListTokens. The zero value is useful.
type ListTokensOptions struct {
	PageSize int // 1,000 if 0; at most 10,000
	// AsOf, if not nil, is set to the revision that a page is as of, before its tokens are given; also if there are
	// none.
	AsOf *int64
}

// ListTokens gives the tokens by name, with what they may do, and without their secrets, which no node knows. Pages,
// fail-over and errors are as for List.
func (c *Client) ListTokens(ctx context.Context, o ListTokensOptions) iter.Seq2[*rollcallv1.Token, error] {
	return func(yield func(*rollcallv1.Token, error) bool) {
		req := &rollcallv1.ListTokensRequest{PageSize: int32(min(o.PageSize, 1<<30))} // beyond every limit: for the node to refuse
		listAccess(ctx, c, operation{name: "list tokens"}, req, rollcallv1.AccessClient.ListTokens, func(page *rollcallv1.ListTokensResponse) bool {
			if o.AsOf != nil {
				*o.AsOf = page.GetRevision()
			}
			req.PageToken = page.GetNextPageToken()
			for _, t := range page.GetTokens() {
				if !yield(t, nil) {
					return false
				}
			}
			return true
		}, func(err error) { yield(nil, err) })
	}
}
