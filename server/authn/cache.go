package authn

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// token is one that this node has let in. It never changes once it is made.
type token struct {
	sum        [sha256.Size]byte
	generation int64 // as of which it was looked up
	id         string
	identity   string
	expireTime int64 // log time; 0: never
	expires    time.Time
	revoked    bool
}

// cache holds the tokens that were let in lately, so that a call need not ask the registry, and so that a token that was
// revoked is told from one that never was. A token has one place, which it may lose to another. Only tokens that are
// valid get in, so strangers cannot drive them out.
type cache struct {
	slots [cacheSlots]atomic.Pointer[token]
}

// cacheSlots is some times as many as a cluster has tokens in use; it takes 64 KiB.
const cacheSlots = 8192

func (c *cache) slot(sum *[sha256.Size]byte) *atomic.Pointer[token] {
	return &c.slots[binary.BigEndian.Uint64(sum[len(sum)-8:])%cacheSlots]
}

// get returns nil if the token is not held.
func (c *cache) get(sum [sha256.Size]byte) *token {
	if t := c.slot(&sum).Load(); t != nil && t.sum == sum {
		return t
	}
	return nil
}

func (c *cache) put(t *token) { c.slot(&t.sum).Store(t) }
