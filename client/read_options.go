package client

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
)

// Request metadata of reads, and the headers of their answers.
const (
	consistencyKey   = "rollcall-consistency"
	minRevisionKey   = "rollcall-min-revision"
	maxStalenessKey  = "rollcall-max-staleness"
	requireLeaderKey = "rollcall-require-leader"

	revisionKey = "rollcall-revision"
	ageKey      = "rollcall-age-ms"
	nodeKey     = "rollcall-node"
	filteredKey = "rollcall-filtered" // also of streams
)

// Consistency is how a read relates to the writes of others.
type Consistency int

const (
	// Local reads what the node that is asked knows, which may be behind. It needs no quorum.
	Local Consistency = iota
	// Linearizable reads show every write that was acknowledged before they began, on any node. They
	// need a quorum, and cost a round trip to the leader and one of its heartbeats, which all reads
	// that wait share.
	Linearizable
)

// ReadOptions say how fresh a read must be. What cannot be had from one node before its attempt ends is
// asked of the next; what cannot be had at all is UNAVAILABLE. The zero value is a local read.
type ReadOptions struct {
	Consistency Consistency
	// MinRevision makes a node wait until it has reached this revision; 0: it need not.
	MinRevision int64
	// Cluster is the cluster that must answer: another one refuses with ErrClusterChanged. "": the one of
	// Client.Cluster if the read gives a revision (MinRevision, or one in the past), any if it gives none.
	Cluster string
	// MaxStaleness, if not nil, makes a node show every write acknowledged longer ago than that. A node
	// that is not known to be so fresh makes sure of it first.
	MaxStaleness *time.Duration
	// RequireLeader makes a node that knows no leader refuse.
	RequireLeader bool
	// Info, if not nil, is set to where the answer came from, when the read ends; by List after each page.
	Info *ReadInfo
}

// ReadInfo is what a node says of the answer to a read.
type ReadInfo struct {
	Node     string
	Cluster  string // that Revision belongs to
	Revision int64
	// Age is how long what was read may have been out of date: every write acknowledged longer ago is
	// in it. Nil: the node does not know.
	Age *time.Duration
	// Filtered means, of a list, that there may be more than the caller may read, and than the answer shows.
	Filtered bool
}

type readOptionsKey struct{}

// WithReadOptions makes the Check, Get and List that get ctx read as o says. Watches and changes take
// no notice.
func WithReadOptions(ctx context.Context, o ReadOptions) context.Context {
	return context.WithValue(ctx, readOptionsKey{}, o)
}

// Outgoing adds o to the metadata of ctx, for gRPC calls that are not made by a Client. Info is filled by
// [ReadInfoFrom].
func (o ReadOptions) Outgoing(ctx context.Context) context.Context {
	return o.outgoing(withCluster(ctx, o.Cluster), o.Cluster != "")
}

// outgoing adds o to the metadata of ctx, without the cluster, which is named if there is one.
func (o ReadOptions) outgoing(ctx context.Context, named bool) context.Context {
	var kv []string
	if o.Consistency == Linearizable {
		kv = append(kv, consistencyKey, "linearizable")
	}
	if o.MinRevision != 0 {
		kv = append(kv, minRevisionKey, strconv.FormatInt(o.MinRevision, 10))
	}
	if o.MaxStaleness != nil {
		kv = append(kv, maxStalenessKey, o.MaxStaleness.String())
	}
	if o.RequireLeader {
		kv = append(kv, requireLeaderKey, "true")
	}
	if len(kv) == 0 && !named && o.Info != nil {
		kv = append(kv, consistencyKey, "local") // only to be answered with headers
	}
	if len(kv) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// ReadInfoFrom reads the headers of an answer.
func ReadInfoFrom(header metadata.MD) ReadInfo {
	info := ReadInfo{Node: firstValue(header, nodeKey), Cluster: firstValue(header, clusterKey)}
	info.Revision, _ = answeredAt(header)
	info.Filtered = firstValue(header, filteredKey) == "true"
	if v := header.Get(ageKey); len(v) > 0 {
		if ms, err := strconv.ParseInt(v[0], 10, 64); err == nil && ms >= 0 {
			age := time.Duration(ms) * time.Millisecond
			info.Age = &age
		}
	}
	return info
}

// reading is a read with options: its metadata, and where its headers go.
type reading struct {
	ReadOptions
	op *operation // names the cluster
}

// newReading returns the read that ctx asks for, and makes op name its cluster. revision is true if the read
// gives a revision, which only one cluster knows.
func (c *Client) newReading(ctx context.Context, op *operation, revision bool) *reading {
	o, _ := ctx.Value(readOptionsKey{}).(ReadOptions)
	op.cluster = o.Cluster
	if op.cluster == "" && (revision || o.MinRevision > 0) {
		op.cluster = c.Cluster()
	}
	op.headers = o.Info != nil
	return &reading{ReadOptions: o, op: op}
}

// outgoing returns the outgoing context of the read.
func (r *reading) outgoing(ctx context.Context) context.Context {
	return r.ReadOptions.outgoing(ctx, r.op.cluster != "")
}

// atLeast returns the outgoing context of a read that must not be older than revision.
func (r *reading) atLeast(ctx context.Context, revision int64) context.Context {
	o := r.ReadOptions
	if o.MinRevision >= 0 { // a node refuses what makes no sense
		o.MinRevision = max(o.MinRevision, revision)
	}
	return o.outgoing(ctx, r.op.cluster != "")
}

// done sets Info.
func (r *reading) done(a answer) {
	if r.Info == nil {
		return
	}
	filtered := ReadInfoFrom(a.header).Filtered
	if len(a.header.Get(nodeKey)) == 0 {
		a.header = a.trailer
	}
	*r.Info = ReadInfoFrom(a.header)
	r.Info.Filtered = r.Info.Filtered || filtered
}

// atLeast asks a node to answer only once it has seen revision.
func atLeast(ctx context.Context, revision int64) context.Context {
	if revision <= 0 {
		return ctx
	}
	return askRevision(ctx, revision)
}

// askRevision also makes the node tell its revision in a header.
func askRevision(ctx context.Context, revision int64) context.Context {
	return metadata.AppendToOutgoingContext(ctx, minRevisionKey, strconv.FormatInt(revision, 10))
}

// answeredAt reads the revision that a node was at from its headers.
func answeredAt(md metadata.MD) (int64, bool) {
	for _, v := range md.Get(revisionKey) {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
			return n, true
		}
	}
	return 0, false
}
