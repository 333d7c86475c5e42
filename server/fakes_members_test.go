package server

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// fakeMembers is Members. Nobody answers at an address that is not in probes.
type fakeMembers struct {
	mu       sync.Mutex
	records  map[string]*logv1.Member
	founders map[string]*logv1.Member
	probes   map[string]func(context.Context) (*peerv1.Hello, error)
	probed   []string // addresses
	transfer func(ctx context.Context, name string) error
	removed  atomic.Bool // this node was
}

func (f *fakeMembers) MemberRecords() map[string]*logv1.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.records)
}

func (f *fakeMembers) SilentFounders() map[string]*logv1.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.founders)
}

func (f *fakeMembers) Removed() bool { return f.removed.Load() }

func (f *fakeMembers) ProbeAddress(ctx context.Context, address string) (*peerv1.Hello, error) {
	f.mu.Lock()
	f.probed = append(f.probed, address)
	probe := f.probes[address]
	f.mu.Unlock()
	if probe == nil {
		return nil, errRefused
	}
	return probe(ctx)
}

func (f *fakeMembers) TransferLeadershipTo(ctx context.Context, name string) error {
	f.mu.Lock()
	transfer := f.transfer
	f.mu.Unlock()
	return transfer(ctx, name)
}

func (f *fakeMembers) change(do func(*fakeMembers)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// answer has a node say who it is at an address.
func (f *fakeMembers) answer(address string, h *peerv1.Hello, err error) {
	f.change(func(f *fakeMembers) {
		if f.probes == nil {
			f.probes = map[string]func(context.Context) (*peerv1.Hello, error){}
		}
		f.probes[address] = func(context.Context) (*peerv1.Hello, error) { return h, err }
	})
}

// waitingNode is what a node says that waits to be a member.
func waitingNode(name, directory string) *peerv1.Hello {
	return &peerv1.Hello{
		Node: name, DirectoryId: directory, Version: "v0.2.0", Level: 2,
		Waiting: &peerv1.Waiting{ApiAddress: name + ":7600"},
	}
}

// memberCluster is a cluster whose nodes know the members n1 … as the registry would have them: D1 is the directory of n1.
func memberCluster(t *testing.T, n int, change ...func(*Config)) *testCluster {
	t.Helper()
	c := newTestCluster(t, n, change...)
	for _, node := range c.nodes {
		node.members.change(func(f *fakeMembers) {
			f.records = map[string]*logv1.Member{}
			for i, name := range c.names {
				f.records[name] = &logv1.Member{
					Name: name, ApiAddress: name + ":7600", PeerAddress: name + ":7601", DirectoryId: directoryOf(i), Version: "v0.2.0", Level: 2,
				}
			}
		})
		node.agreement.change(func(st *NodeStatus) {
			for i, m := range st.Members {
				m.Phase, m.DirectoryId = rollcallv1.MemberPhase_MEMBER_PHASE_VOTER, ShortDirectoryID(directoryOf(i))
			}
			st.Level, st.MaxLevel = 2, 2
		})
	}
	return c
}

func directoryOf(i int) string { return string(rune('a'+i)) + "0000000-1111" }

// fold has the nodes answer commands about members as the fold does. It returns the commands, as they come.
func (c *testCluster) foldMembers(do func(cmd *logv1.MemberCommand) *logv1.Result) *[]*logv1.Command {
	var mu sync.Mutex
	all := new([]*logv1.Command)
	for _, node := range c.nodes {
		node.agreement.onPropose(func(_ context.Context, cmd *logv1.Command) (*logv1.Result, error) {
			mu.Lock()
			*all = append(*all, cmd)
			mu.Unlock()
			return do(memberCommandOf(cmd)), nil
		})
	}
	return all
}

func memberCommandOf(cmd *logv1.Command) *logv1.MemberCommand {
	var m logv1.MemberCommand
	if err := m.UnmarshalVT(cmd.GetRecord().GetPayload()); err != nil {
		panic(err)
	}
	return &m
}

// folded is what the fold answers to a command about members that it takes, at revision 7.
func folded(cmd *logv1.MemberCommand) *logv1.Result {
	var m *logv1.Member
	deleted := false
	switch c := cmd.GetCommand().(type) {
	case *logv1.MemberCommand_Add:
		m = c.Add.GetMember()
	case *logv1.MemberCommand_Replace:
		m = c.Replace.GetMember()
	case *logv1.MemberCommand_Promote:
		m = &logv1.Member{Name: c.Promote.GetName(), DirectoryId: "f0000000-1111"}
	case *logv1.MemberCommand_Remove:
		m, deleted = &logv1.Member{Name: c.Remove.GetName(), DirectoryId: c.Remove.GetDirectoryId()}, true
	}
	value, err := m.MarshalVT()
	if err != nil {
		panic(err)
	}
	return &logv1.Result{Revision: 7, Records: []*logv1.RecordResult{
		{Kind: logv1.Kind_KIND_MEMBER, Key: m.GetName(), Changed: true, Deleted: deleted, Value: value},
	}}
}
