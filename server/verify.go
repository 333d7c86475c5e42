package server

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/deadline"
	"github.com/rollcallhq/rollcall/server/peerconn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// A member is asked again if it has not applied the log entry yet, or was started after it.
const (
	verifyTries = 10
	verifyPause = 100 * time.Millisecond
	// verifyTimeout bounds the whole call of a caller without a deadline.
	verifyTimeout = 5 * time.Second
)

// Verify implements rollcall.v1.Cluster. It asks every member for its state hash after one log entry and
// compares them. A node that has found that its registry differs answers too.
func (s *clusterService) Verify(ctx context.Context, req *rollcallv1.VerifyRequest) (res *rollcallv1.VerifyResponse, err error) {
	defer rpcerror.Recovered(s.log, s.node, "Cluster.Verify", false, &err)
	if s.replica == nil {
		return s.UnimplementedClusterServer.Verify(ctx, req)
	}
	if _, err := s.admit(ctx); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	bounded, cancel := deadline.Answerable(ctx, verifyTimeout)
	defer cancel()
	res = s.verify(bounded)
	if err := ctx.Err(); err != nil {
		return nil, rpcerror.ToStatus(s.node, err)
	}
	return res, nil
}

func (s *clusterService) verify(ctx context.Context) *rollcallv1.VerifyResponse {
	st := s.source.NodeStatus()
	names := make([]string, 0, len(st.Members))
	voters := make(map[string]bool, len(st.Members))
	for _, m := range st.Members {
		voters[m.GetName()] = m.GetVoter()
		switch m.GetPhase() {
		case rollcallv1.MemberPhase_MEMBER_PHASE_JOINING, rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING:
			continue // it does not hold the registry yet, or need not any more
		}
		names = append(names, m.GetName())
	}
	if !slices.Contains(names, s.node) { // removed, or not a member yet
		names = append(names, s.node)
		slices.Sort(names)
	}
	own, revision := s.replica.Held()
	held := map[string]*rollcallv1.MemberHash{}
	for try := 1; ; try++ {
		held[s.node] = &rollcallv1.MemberHash{Node: s.node, StateHash: hex.EncodeToString(own.GetHash()), HashVersion: own.GetVersion(), Revision: revision}
		behind, forgot := s.askHashes(ctx, names, own, held)
		if !behind && !forgot || try == verifyTries || !sleepFor(ctx, verifyPause) {
			break
		}
		if forgot { // every member knows the hash of a newer entry
			own, revision = s.replica.Held()
			for name, m := range held {
				if m.GetStateHash() != "" {
					delete(held, name)
				}
			}
		}
	}
	res := &rollcallv1.VerifyResponse{Revision: revision, Index: own.GetIndex(), ClusterId: st.ClusterID, Node: s.node}
	for _, name := range names {
		res.Members = append(res.Members, held[name])
	}
	conclude(res, voters)
	return res
}

// Why a member's state hash is missing, though it may come.
const (
	notApplied   = "has not applied the log entry yet"
	notAnyLonger = "was started after the log entry and does not know its hash then"
)

// askHashes asks the other members for their state hash after the log entry of own, and puts the answers into
// held. It skips members whose answer will not change. behind: a member has not applied the entry yet.
// forgot: a member was started after the entry and will never know its hash.
func (s *clusterService) askHashes(ctx context.Context, names []string, own *logv1.StateHash, held map[string]*rollcallv1.MemberHash) (behind, forgot bool) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var mu sync.Mutex // guards held, behind and forgot
	var asking sync.WaitGroup
	for _, name := range names {
		mu.Lock()
		before := held[name]
		mu.Unlock()
		if before != nil && before.GetError() != notApplied && before.GetError() != notAnyLonger {
			continue
		}
		asking.Go(func() {
			m := &rollcallv1.MemberHash{Node: name}
			res, err := askHash(ctx, s.pool, s.node, name, own.GetIndex(), own)
			m.Revision = res.GetRevision()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				m.Error = err.Error()
			case !res.GetKnown() && res.GetAppliedIndex() < own.GetIndex():
				m.Error, behind = notApplied, true
			case !res.GetKnown():
				m.Error, forgot = notAnyLonger, true
			default:
				m.StateHash, m.HashVersion = hex.EncodeToString(res.GetHash()), res.GetVersion()
				if res.GetVersion() == own.GetVersion() && string(res.GetHash()) != string(own.GetHash()) {
					s.replica.Suspect(own.GetIndex(), name)
				}
			}
			held[name] = m
		})
	}
	asking.Wait()
	return behind, forgot
}

// conclude compares the members' state hashes and fills in the verdict. Voters alone make a majority.
func conclude(res *rollcallv1.VerifyResponse, voters map[string]bool) {
	type kind struct {
		version uint32
		hash    string
	}
	groups := map[kind][]string{}
	var silent []string
	for _, m := range res.GetMembers() {
		if m.GetStateHash() == "" {
			silent = append(silent, m.GetNode())
			continue
		}
		k := kind{m.GetHashVersion(), m.GetStateHash()}
		groups[k] = append(groups[k], m.GetNode())
	}
	versions := map[uint32]bool{}
	for k := range groups {
		versions[k.version] = true
	}
	votes := func(names []string) (n int) {
		for _, name := range names {
			if voters[name] {
				n++
			}
		}
		return n
	}
	all := 0
	for _, votes := range voters {
		if votes {
			all++
		}
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b []string) int {
		return cmp.Or(votes(b)-votes(a), len(b)-len(a), slices.Compare(a, b))
	})
	at := fmt.Sprintf("after log entry %d (revision %d)", res.GetIndex(), res.GetRevision())
	var parts []string
	switch {
	case len(versions) > 1:
		parts = append(parts, "members of different versions compute the state hash in different ways: it cannot be compared "+at)
	case len(sorted) == 1 && len(silent) == 0 && len(sorted[0]) == 1:
		res.Agree = true
		parts = append(parts, "there is only one member: nobody to differ from")
	case len(sorted) == 1 && len(silent) == 0:
		res.Agree = true
		parts = append(parts, fmt.Sprintf("all %d members hold the same registry %s", len(sorted[0]), at))
	case len(sorted) == 1 && len(sorted[0]) > 1:
		parts = append(parts, fmt.Sprintf("%s hold the same registry %s", inSentence(sorted[0]), at))
	case len(sorted) > 1 && 2*votes(sorted[0]) > all:
		others := slices.Concat(sorted[1:]...)
		slices.Sort(others)
		parts = append(parts, fmt.Sprintf("the registry of %s is not what %s hold %s: see its log and docs/guarantees.md", inSentence(others), inSentence(sorted[0]), at))
	case len(sorted) > 1:
		parts = append(parts, "the members' registries differ "+at+" and no majority holds the same: see docs/guarantees.md")
	}
	if len(silent) > 0 {
		parts = append(parts, inSentence(silent)+" could not be compared")
	}
	res.Verdict = strings.Join(parts, "; ")
}

// inSentence joins names as in a sentence: "n1, n2 and n3".
func inSentence(names []string) string {
	if n := len(names) - 1; n > 0 {
		return strings.Join(names[:n], ", ") + " and " + names[n]
	}
	return strings.Join(names, "")
}

// sleepFor waits for d. It returns false if ctx ends first.
func sleepFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// askHash asks a member what it held after the log entry at index. own is the asker's state hash; nil if it
// does not know it or must not tell it.
func askHash(ctx context.Context, pool *peerconn.Pool, asker, member string, index uint64, own *logv1.StateHash) (*peerv1.HashAtResponse, error) {
	conn, err := pool.Get(member)
	if err == nil {
		err = conn.Ready(ctx, true)
	}
	if err != nil {
		return nil, errors.New(peerconn.Describe(err))
	}
	res, err := peerv1.NewPeerClient(conn).HashAt(ctx, &peerv1.HashAtRequest{Index: index, Node: asker, Own: own})
	switch st := status.Convert(err); {
	case st.Code() == codes.DeadlineExceeded:
		return nil, errors.New("no answer")
	case err != nil:
		return nil, errors.New(st.Message())
	}
	return res, nil
}
