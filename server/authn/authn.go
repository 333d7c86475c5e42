package authn

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/freshness"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/tlsport"
)

// Tokens is what this node knows of the cluster's tokens.
type Tokens interface {
	// Generation is another one after each change of what Token returns. It must not block or allocate.
	Generation() int64
	// Token returns the token of an id, and its name; nil if there is none.
	Token(id string) (name string, t *logv1.Token)
	// Changed is closed at the next change.
	Changed() <-chan struct{}
}

// Config is what an Authenticator needs.
type Config struct {
	Tokens Tokens
	// Clock is the time by which tokens expire, in nanoseconds since 1970.
	Clock  func() int64
	Static *Static // administrators of this node's configuration; nil: none
	// Behind says that this node has not caught up with the cluster since it started, so that it cannot tell a token
	// that it does not know from one that does not exist. nil: it never is. It must not block.
	Behind func() bool
	// Ending is closed when calls are to be answered at once, because the node stops.
	Ending <-chan struct{}
	Logger *slog.Logger
}

// Authenticator says who calls. Its methods may be called from anywhere.
type Authenticator struct {
	cfg      Config
	incoming freshness.Incoming
	cache    cache
	failures failures
}

// New returns an Authenticator.
func New(cfg Config) *Authenticator {
	return &Authenticator{cfg: cfg, incoming: freshness.NewIncoming(), failures: newFailures()}
}

// metadataKey holds the token of a call.
const metadataKey = "authorization"

// Caller says who calls: whom the token names, else the certificate of the connection. It refuses a call with a token
// that proves nothing, after a while that grows with the failures from its address. While the node is Behind, a token that
// it does not know is no failure of the caller's: it is answered at once with ReasonNotFresh, so that the caller asks
// another node.
func (a *Authenticator) Caller(ctx context.Context) (*Caller, *rpcerror.Failure) {
	caller, failure := a.Identify(ctx)
	if failure == nil || failure.Reason == rpcerror.ReasonNotFresh {
		return caller, failure
	}
	return a.refuse(ctx)
}

// Identify is Caller that neither waits nor counts a failure. It is for calls that go on already.
func (a *Authenticator) Identify(ctx context.Context) (*Caller, *rpcerror.Failure) {
	connection := connectionOf(ctx)
	values := a.incoming.Values(ctx, metadataKey)
	if len(values) == 0 {
		return a.byConnection(connection), nil
	}
	return a.byToken(connection, values)
}

func connectionOf(ctx context.Context) *peer.Peer {
	if connection, ok := peer.FromContext(ctx); ok {
		return connection
	}
	return &peer.Peer{}
}

// byConnection is the caller as the connection proves it.
func (a *Authenticator) byConnection(connection *peer.Peer) *Caller {
	c := &Caller{Identity: limits.AnonymousIdentity, How: byNothing, address: connection.Addr}
	info, ok := connection.AuthInfo.(*tlsport.Info)
	if !ok {
		return c
	}
	c.TLS = secured(info)
	if info.Identity == "" {
		return c
	}
	c.Identity, c.How, c.Expires = info.Identity, byCertificate, info.Expires
	if a.cfg.Static.hasIdentity(info.Identity) {
		c.Identity, c.How, c.StaticAdmin = staticName(info.Identity), byStaticCertificate, true
	}
	return c
}

func secured(info *tlsport.Info) bool { return info.SecurityLevel == credentials.PrivacyAndIntegrity }

// byToken is the caller as its token proves it. It does not wait.
func (a *Authenticator) byToken(connection *peer.Peer, values []string) (*Caller, *rpcerror.Failure) {
	info, _ := connection.AuthInfo.(*tlsport.Info)
	overTLS := info != nil && secured(info)
	if !overTLS && beyondLoopback(connection.Addr) {
		return nil, rpcerror.Unauthenticated(rpcerror.ReasonTokenOverPlainText,
			"a token was sent over plain text, where others may have read it; revoke it, and connect with TLS")
	}
	sum, failure := read(values)
	if failure != nil {
		return nil, failure
	}
	c := &Caller{How: byToken, TLS: overTLS, address: connection.Addr, sum: sum}
	if a.cfg.Static.hasToken(sum) {
		c.Identity, c.How, c.Credential, c.StaticAdmin = staticTokenName, byStaticToken, accesstoken.ID(sum), true
		return c, nil
	}
	known := a.known(sum)
	if known == nil {
		if a.cfg.Behind != nil && a.cfg.Behind() {
			return nil, rpcerror.Unauthenticated(rpcerror.ReasonNotFresh, "this node does not know token %s, but has not caught up with the cluster since it started; ask another node", accesstoken.ID(sum))
		}
		known = a.known(sum) // it may have caught up in between
	}
	if known == nil {
		return nil, rpcerror.Unauthenticated(rpcerror.ReasonTokenUnknown, "token %s is not one that this node knows", accesstoken.ID(sum))
	}
	if failure := a.check(known); failure != nil {
		return nil, failure
	}
	c.Identity, c.Credential, c.Expires = known.identity, known.id, known.expires
	return c, nil
}

// read reads the token of a call. The texts of its failures hold nothing of what was sent.
func read(values []string) (sum [sha256.Size]byte, failure *rpcerror.Failure) {
	damaged := func(format string, args ...any) (none [sha256.Size]byte, _ *rpcerror.Failure) {
		return none, rpcerror.Unauthenticated(rpcerror.ReasonTokenDamaged, format, args...)
	}
	if len(values) != 1 {
		return damaged("the call has %d values of authorization; one is allowed", len(values))
	}
	scheme, text, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return damaged(`authorization must be "Bearer" and a token`)
	}
	sum, err := accesstoken.Check(strings.TrimSpace(text))
	if err != nil {
		return damaged("%v", err)
	}
	return sum, nil
}

// known returns the token of a secret; nil if this node never knew one.
func (a *Authenticator) known(sum [sha256.Size]byte) *token {
	// The generation is read first: if the token changes in between it is looked up again next time.
	generation := a.cfg.Tokens.Generation()
	cached := a.cache.get(sum)
	if cached != nil && cached.generation == generation {
		return cached
	}
	id := accesstoken.ID(sum)
	name, t := a.cfg.Tokens.Token(id)
	if t == nil || string(t.GetSecretSha256()) != string(sum[:]) {
		if cached == nil {
			return nil
		}
		gone := *cached
		gone.revoked, gone.generation = true, generation
		a.cache.put(&gone)
		return &gone
	}
	found := &token{sum: sum, generation: generation, id: id, identity: limits.TokenIdentity + name, expireTime: t.GetExpireTime()}
	if found.expireTime != 0 {
		found.expires = time.Unix(0, found.expireTime)
	}
	a.cache.put(found)
	return found
}

// check says why a token proves nothing any more; nil: it does.
func (a *Authenticator) check(t *token) *rpcerror.Failure {
	var f *rpcerror.Failure
	switch {
	case t.revoked:
		f = rpcerror.Unauthenticated(rpcerror.ReasonTokenRevoked, "the token of %s was revoked", t.identity)
	case t.expireTime != 0 && a.cfg.Clock() >= t.expireTime:
		f = rpcerror.Unauthenticated(rpcerror.ReasonTokenExpired, "the token of %s expired at %s", t.identity, t.expires.UTC().Format(time.RFC3339))
	default:
		return nil
	}
	f.Meta[rpcerror.MetaIdentity] = t.identity
	return f
}

// Still says why a caller is not any more who it was when its stream began; nil: it is. It counts as no failure to log
// in.
func (a *Authenticator) Still(c *Caller) *rpcerror.Failure {
	switch {
	case c.Credential == "":
		return nil
	case c.StaticAdmin:
		if a.cfg.Static.hasToken(c.sum) {
			return nil
		}
		return rpcerror.Unauthenticated(rpcerror.ReasonTokenRevoked, "token %s is not any more one of an administrator of this node's configuration", c.Credential)
	}
	known := a.known(c.sum)
	if known == nil {
		return rpcerror.Unauthenticated(rpcerror.ReasonTokenRevoked, "the token of %s was revoked", c.Identity)
	}
	return a.check(known)
}

// beyondLoopback says that what is sent in plain text to or from an address can be read by others. What has no address
// of the network does not leave the machine.
func beyondLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}
