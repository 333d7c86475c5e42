package freshness

import (
	"context"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Request metadata of this domain, and the headers that answer it.
const (
	metadataPrefix = "rollcall-"

	// MetadataConsistency asks for a read that is local (as without it) or linearizable: it shows every
	// write that was acknowledged before it began.
	MetadataConsistency = "rollcall-consistency"
	// MetadataMinRevision asks a read to wait until the node is at this revision.
	MetadataMinRevision = "rollcall-min-revision"
	// MetadataMaxStaleness asks a read to show every write acknowledged before so long ago (a Go
	// duration). A node that is not known to be that fresh has itself confirmed first.
	MetadataMaxStaleness = "rollcall-max-staleness"
	// MetadataRequireLeader (true or false) asks a node to refuse if it knows no leader, and to end a
	// watch when it has known none for longer than an election takes.
	MetadataRequireLeader = "rollcall-require-leader"

	// MetadataCluster names the cluster that must answer. A node of another cluster refuses. It is also a
	// header of answers, with the cluster of the node.
	MetadataCluster = "rollcall-cluster"

	// MetadataRevision answers the node's revision, of the moment of the answer.
	MetadataRevision = "rollcall-revision"
	// MetadataAge answers for how many milliseconds what is read may have been out of date: every write
	// acknowledged longer ago is in it. It is left out while the node does not know.
	MetadataAge = "rollcall-age-ms"
	// MetadataNode answers which node it was.
	MetadataNode = "rollcall-node"
)

// Values of MetadataConsistency.
const (
	consistencyLocal        = "local"
	consistencyLinearizable = "linearizable"
)

const metadataKeys = MetadataConsistency + ", " + MetadataMinRevision + ", " + MetadataMaxStaleness + ", " + MetadataRequireLeader + " and " + MetadataCluster

// Incoming looks at a call's metadata without copying it.
//
// grpc's accessors do not serve here: FromIncomingContext copies the whole map for every call, and
// ValueFromIncomingContext must be told the key, so it cannot find a mistyped one. The map itself
// stands in the context under a key that is private to grpc; incoming learns that key once, by
// letting FromIncomingContext ask a context of its own. Should grpc change, the type assertion in
// raw fails and it falls back to the copy: slower, not wrong. BenchmarkMetadata compares them.
type Incoming struct{ key any }

// keyCatcher is a context that notes what it is asked for.
type keyCatcher struct {
	context.Context
	key any
}

func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

// NewIncoming returns what reads the metadata of calls.
func NewIncoming() Incoming {
	c := &keyCatcher{Context: context.Background()}
	metadata.FromIncomingContext(c)
	return Incoming{key: c.key}
}

// raw returns the metadata of the call, not to be modified.
func (in Incoming) raw(ctx context.Context) metadata.MD {
	if in.key != nil {
		v := ctx.Value(in.key)
		if v == nil {
			return nil
		}
		if md, ok := v.(metadata.MD); ok {
			return md
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return md
}

// Values returns the values of a key, not to be modified. The key is in lower case.
func (in Incoming) Values(ctx context.Context, key string) []string { return in.raw(ctx)[key] }

// Asks says whether a call carries any key of this domain. Keys are lower case: HTTP/2 demands it of
// the wire, and grpc's server refuses others.
func (in Incoming) Asks(ctx context.Context) bool {
	md := in.raw(ctx)
	if len(md) == 0 || isPlain(md) {
		return false
	}
	for k := range md {
		if strings.HasPrefix(k, metadataPrefix) {
			return true
		}
	}
	return false
}

// isPlain says that md holds nothing but what clients send with every call: usually it does, and going
// through a map takes longer than all the rest of a Check. :authority and content-type need not be looked
// for: grpc's server refuses calls without (gRFC A41; TestEveryCallHasAuthorityAndContentType).
func isPlain(md metadata.MD) bool {
	others := len(md) - 2
	if others < 1 || others > 3 {
		return false
	}
	if _, ok := md["user-agent"]; !ok {
		return false
	}
	if others == 1 {
		return true
	}
	if _, ok := md["grpc-accept-encoding"]; ok {
		others--
	}
	if others > 1 {
		if _, ok := md["authorization"]; ok {
			others--
		}
	}
	return others == 1
}

// demand is what a call asks for by its metadata.
type demand struct {
	linearizable  bool
	minRevision   int64         // 0: nothing
	maxStaleness  time.Duration // negative: nothing
	requireLeader bool
	cluster       string // "": any
	from          int64  // as minRevision, of a request that goes on from a revision
}

// parse reads the keys that begin with "rollcall-". It refuses a key that it does not know: with a mistyped
// key a read must not silently do without what was asked.
func (in Incoming) parse(ctx context.Context) (demand, error) {
	a := demand{maxStaleness: -1}
	var vs []rpcerror.Violation
	for k, values := range in.raw(ctx) {
		if !strings.HasPrefix(k, metadataPrefix) {
			continue
		}
		if bad := a.set(k, values); bad != nil {
			vs = append(vs, *bad)
		}
	}
	if len(vs) > 0 {
		return demand{}, rpcerror.Invalid(vs...)
	}
	return a, nil
}

// set takes one key. It returns nil if the key and its value are understood.
func (a *demand) set(key string, values []string) *rpcerror.Violation {
	switch key {
	case MetadataConsistency, MetadataMinRevision, MetadataMaxStaleness, MetadataRequireLeader, MetadataCluster:
	default:
		return &rpcerror.Violation{Field: rpcerror.QuoteShort(key), Description: "is not known; " + metadataKeys + " are"}
	}
	if len(values) != 1 {
		return &rpcerror.Violation{Field: key, Description: "is given more than once"}
	}
	value := values[0]
	must := func(what string) *rpcerror.Violation {
		return &rpcerror.Violation{Field: key, Description: "must be " + what + "; is " + rpcerror.QuoteShort(value)}
	}
	switch key {
	case MetadataConsistency:
		if value != consistencyLocal && value != consistencyLinearizable {
			return must(consistencyLocal + " or " + consistencyLinearizable)
		}
		a.linearizable = value == consistencyLinearizable
	case MetadataMinRevision:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return must("a revision, a number from 0")
		}
		a.minRevision = n
	case MetadataMaxStaleness:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return must("a duration from 0s, as 2s or 500ms")
		}
		a.maxStaleness = d
	case MetadataRequireLeader:
		if value != "true" && value != "false" {
			return must("true or false")
		}
		a.requireLeader = value == "true"
	case MetadataCluster:
		if value == "" {
			return must("the id of a cluster")
		}
		a.cluster = value
	}
	return nil
}

// CheckCluster is for calls that understand no key of this domain but MetadataCluster. It refuses such a call
// if node, whose cluster is own, belongs to another one. A call that has the key is answered with headers.
func (in Incoming) CheckCluster(ctx context.Context, node, own string) *rpcerror.Failure {
	if !in.Asks(ctx) {
		return nil
	}
	var d demand
	var vs []rpcerror.Violation
	for k, values := range in.raw(ctx) {
		switch {
		case !strings.HasPrefix(k, metadataPrefix):
		case k == MetadataCluster:
			if bad := d.set(k, values); bad != nil {
				vs = append(vs, *bad)
			}
		default:
			vs = append(vs, rpcerror.Violation{Field: strconv.Quote(k), Description: "means nothing to this call, which is no read; only " + MetadataCluster + " does"})
		}
	}
	if len(vs) > 0 {
		return rpcerror.Invalid(vs...)
	}
	md := metadata.Pairs(MetadataNode, node)
	if own != "" {
		md.Set(MetadataCluster, own)
	}
	// It fails only if there is no call or its headers are already sent. Then nobody can be told.
	_ = grpc.SetHeader(ctx, md)
	return rpcerror.CheckCluster(d.cluster, own)
}
