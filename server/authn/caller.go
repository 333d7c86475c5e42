package authn

import (
	"crypto/sha256"
	"net"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// StaticIdentity begins the identities of administrators of a node's own configuration.
const StaticIdentity = "static:"

// Caller is who calls.
type Caller struct {
	Identity    string    // "cert:NAME", "token:NAME", "static:NAME" or "anonymous"
	How         string    // it proved that, in words
	Credential  string    // the id of the token that it showed; "": it showed none
	Expires     time.Time // of its token or certificate; zero: never
	StaticAdmin bool      // an administrator of this node's own configuration, who may do everything
	TLS         bool      // the connection is secured

	address net.Addr          // of the other end; nil: not known
	worded  string            // the address; "": it was not worded yet
	sum     [sha256.Size]byte // of its token
}

// How a caller proved its identity.
const (
	byToken             = "a token"
	byCertificate       = "its certificate"
	byNothing           = "nothing: no token and no certificate"
	byStaticToken       = "a token that this node's configuration makes an administrator's"
	byStaticCertificate = "its certificate, which this node's configuration makes an administrator's"
)

// Verified says that the caller proved an identity.
func (c *Caller) Verified() bool { return c.Identity != limits.AnonymousIdentity }

// Actor is the caller as a command of the log names it. claimed is what the request says of who acts: the name of a
// caller that proves no identity, and for whom one that does acts.
func (c *Caller) Actor(claimed string) *logv1.Actor {
	if !c.Verified() {
		return &logv1.Actor{Name: claimed, Peer: c.Address()}
	}
	return &logv1.Actor{
		Name: c.Identity, Verified: true, Peer: c.Address(),
		OnBehalfOf: claimed, Credential: c.Credential, StaticAdmin: c.StaticAdmin,
	}
}

// Address is the other end of the connection, as host:port; "": it is not known.
func (c *Caller) Address() string {
	if c.worded != "" {
		return c.worded
	}
	return addressOf(c.address)
}

// WithAddress returns the caller with its address in words already, for many calls of Address and Actor.
func (c *Caller) WithAddress() *Caller {
	worded := *c
	worded.worded = c.Address()
	return &worded
}

// addressOf returns "" if there is no address.
func addressOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
