//go:build unix

package server

import (
	"context"
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// Children of BenchmarkCheckWithAccess: access is enforced, and anonymous callers may read everything, or nothing.
const (
	openAccess   = "rollcall-open"
	closedAccess = "rollcall-closed"

	// baseBinary names a test binary of this package, of another commit, to compare with.
	baseBinary = "ROLLCALL_BENCH_BASE"
)

// benchToken is the token of the callers of closedAccess.
var benchToken = func() accesstoken.Token {
	const text = "0123456789012345678901234567890123456789abc"
	sum := sha256.Sum256([]byte(text))
	t, err := accesstoken.Parse(accesstoken.Prefix + accesstoken.ID(sum) + "_" + text)
	if err != nil {
		panic(err)
	}
	return t
}()

// foldAccess is Access of the fold.
type foldAccess struct{ *fsm.FSM }

func (f foldAccess) Access() AccessView { return f.FSM.Access() }

// enforce turns access on in a fold: the bearer of benchToken may read everything, and so may anonymous callers if role
// is viewer.
func (t *ourTarget) enforce(role string) {
	admin := &logv1.Actor{Name: "static:bench", Verified: true, StaticAdmin: true}
	sum := benchToken.SHA256()
	token, err := (&logv1.TokenCommand{Command: &logv1.TokenCommand_Create{Create: &logv1.CreateToken{
		Name: "bench", SecretSha256: sum[:], Grants: []*logv1.Grant{{Role: access.Viewer, Patterns: []string{"*"}}},
	}}}).MarshalVT()
	if err != nil {
		panic(err)
	}
	auth, err := (&logv1.SetAuth{Enforced: true, Anonymous: role}).MarshalVT()
	if err != nil {
		panic(err)
	}
	for kind, payload := range map[logv1.Kind][]byte{logv1.Kind_KIND_TOKEN: token, logv1.Kind_KIND_AUTH: auth} {
		data, err := logv1.Seal(&logv1.Entry{Time: time.Now().UnixNano(), Commands: []*logv1.Command{{
			Kind: &logv1.Command_Record{Record: &logv1.RecordCommand{Kind: kind, Payload: payload}}, Actor: admin,
		}}})
		if err != nil {
			panic(err)
		}
		t.index++
		t.fsm.ApplyBatch([]*raft.Log{{Index: t.index, Term: 1, Type: raft.LogCommand, Data: data}})
	}
	if now := t.fsm.Access(); !now.Enforced() || t.fsm.ReadsOpen() != (role != "") {
		panic("access is not as the benchmark wants it")
	}
}

// BenchmarkCheckWithAccess: 64 callers on one connection each, in turns: with access off, of the binary that
// ROLLCALL_BENCH_BASE names if it does; with access off; enforced, and everybody may read everything; and enforced, with
// a token.
func BenchmarkCheckWithAccess(b *testing.B) {
	var peers []*checkPeer
	kinds := []struct {
		kind, name string
		ctx        context.Context
	}{
		{ours, "base", context.Background()},
		{ours, "off", context.Background()},
		{openAccess, "open", context.Background()},
		{closedAccess, "token", metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+benchToken.Text())},
	}
	for i, k := range kinds {
		binary := os.Args[0]
		if base := os.Getenv(baseBinary); base != "" && i == 0 {
			binary = base
		}
		p := &checkPeer{peerProcess: startPeerOf(b, binary, k.kind), service: benchName(500), ctx: k.ctx}
		p.dial()
		p.order("fill 1000")
		p.load(4 * *window) // warm
		peers = append(peers, p)
	}
	calls, cpu := make([][]float64, len(kinds)), make([][]float64, len(kinds))
	for round := 0; b.Loop(); round++ {
		for k := range kinds {
			i := (round + k) % len(kinds)
			perSecond, perCall := peers[i].load(*window)
			calls[i], cpu[i] = append(calls[i], perSecond), append(cpu[i], perCall)
		}
	}
	b.ReportMetric(median(cpu[0]), "base-cpu-ns/call")
	for i, k := range kinds[1:] {
		b.ReportMetric(median(calls[i+1])/median(calls[0]), k.name+"-calls-ratio")
		b.ReportMetric(median(cpu[i+1])/median(cpu[0]), k.name+"-cpu-ratio")
	}
}
