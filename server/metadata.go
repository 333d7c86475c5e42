package server

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Request metadata of this domain, and the headers that answer it.
const (
	metadataPrefix = "rollcall-"

	// MetadataMinRevision asks a read to wait until the node is at this revision.
	MetadataMinRevision = "rollcall-min-revision"
	// MetadataRevision answers the node's revision, of the moment of the answer.
	MetadataRevision = "rollcall-revision"
	// MetadataNode answers which node it was.
	MetadataNode = "rollcall-node"
)

// laterKeys are spoken for; asking for what they promise must fail until it is kept.
var laterKeys = map[string]bool{
	"rollcall-consistency":    true,
	"rollcall-max-staleness":  true,
	"rollcall-require-leader": true,
}

// incoming looks at a call's metadata without copying it.
//
// grpc's accessors do not serve here: FromIncomingContext copies the whole map for every call, and
// ValueFromIncomingContext must be told the key, so it cannot find a mistyped one. The map itself
// stands in the context under a key that is private to grpc; incoming learns that key once, by
// letting FromIncomingContext ask a context of its own. Should grpc change, the type assertion in
// asks fails and it falls back to the copy: slower, not wrong. BenchmarkMetadata compares them.
type incoming struct{ key any }

// keyCatcher is a context that notes what it is asked for.
type keyCatcher struct {
	context.Context
	key any
}

func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

func newIncoming() incoming {
	c := &keyCatcher{Context: context.Background()}
	metadata.FromIncomingContext(c)
	return incoming{key: c.key}
}

// raw returns the metadata of the call, not to be modified.
func (in incoming) raw(ctx context.Context) metadata.MD {
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

// asks says whether a call carries any key of this domain. Keys are lower case: HTTP/2 demands it of
// the wire, and grpc's server refuses others.
func (in incoming) asks(ctx context.Context) bool {
	for k := range in.raw(ctx) {
		if strings.HasPrefix(k, metadataPrefix) {
			return true
		}
	}
	return false
}

// asked is what a call asks by metadata.
type asked struct {
	minRevision int64 // 0: nothing
}

// parse reads the keys of this domain. Every one it does not understand is refused: a typo must not
// silently read something else.
func (in incoming) parse(ctx context.Context) (asked, error) {
	var a asked
	var vs []violation
	for k, values := range in.raw(ctx) {
		if !strings.HasPrefix(k, metadataPrefix) {
			continue
		}
		switch {
		case laterKeys[k]:
			vs = append(vs, violation{k, "is not supported yet by this version; only " + MetadataMinRevision + " is"})
		case k != MetadataMinRevision:
			vs = append(vs, violation{strconv.Quote(k), "is not a metadata key of Rollcall; only " + MetadataMinRevision + " is"})
		case len(values) != 1:
			vs = append(vs, violation{k, "is given more than once"})
		default:
			n, err := strconv.ParseInt(values[0], 10, 64)
			if err != nil || n < 0 {
				vs = append(vs, violation{k, "must be a revision, a number from 0; is " + quoteShort(values[0])})
				continue
			}
			a.minRevision = n
		}
	}
	if len(vs) > 0 {
		return asked{}, invalid(vs...)
	}
	return a, nil
}

// refuse is for calls that have no use for any key of this domain.
func (in incoming) refuse(ctx context.Context) error {
	var vs []violation
	for k := range in.raw(ctx) {
		if strings.HasPrefix(k, metadataPrefix) {
			vs = append(vs, violation{strconv.Quote(k), "means nothing to this call; rollcall- metadata is for reads"})
		}
	}
	if len(vs) > 0 {
		return invalid(vs...)
	}
	return nil
}

// quoteShort quotes what a caller sent, and not more of it than a message should hold.
func quoteShort(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// reads is what every read that may carry metadata has in common.
type reads struct {
	node     string
	registry Registry
	incoming incoming
	timeout  time.Duration // for min-revision, when the caller has no deadline
	gate     *gate
}

// await does what the metadata of a call asks for before it is answered. It costs nothing but asks
// when there is none. answer tells to call setHeader.
func (r *reads) await(ctx context.Context) (answer bool, err error) {
	if !r.incoming.asks(ctx) {
		return false, nil
	}
	a, err := r.incoming.parse(ctx)
	if err != nil {
		return false, err
	}
	if r.registry.Revision() >= a.minRevision {
		return true, nil
	}
	wait, cancel := answerable(ctx, r.timeout)
	defer cancel()
	if err := r.registry.WaitRevision(wait, a.minRevision); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return false, ctx.Err()
		}
		current := strconv.FormatInt(r.registry.Revision(), 10)
		return true, &failure{
			reason: ReasonRevisionNotReached,
			msg: "this node is at revision " + current + " and did not reach " + MetadataMinRevision + " " +
				strconv.FormatInt(a.minRevision, 10) + " in time",
			meta: map[string]string{MetaCurrentRevision: current},
		}
	}
	return true, nil
}

// setHeader answers a call that asked by metadata. It is called after the read: who sends the
// revision as the next rollcall-min-revision never sees less than here, on any node.
func (r *reads) setHeader(ctx context.Context) {
	revision := r.registry.ShownRevision()
	// The only errors are that there is no call or that its headers are sent: nobody to tell.
	_ = grpc.SetHeader(ctx, metadata.Pairs(
		MetadataRevision, strconv.FormatInt(revision, 10),
		MetadataNode, r.node,
	))
}

// answerable returns ctx with its deadline moved ahead by a margin in which an answer still reaches
// the caller, who would otherwise learn no more than that its time ran out. Without a deadline it is
// without from now.
func answerable(ctx context.Context, without time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, without)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, left-min(answerMargin(left), left/2))
}

// answerMargin is the greater of 50 ms and 5 % of what is left.
func answerMargin(left time.Duration) time.Duration {
	return max(50*time.Millisecond, left/20)
}
