package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestRefusedChangesOfMembers: one clear error each, and nothing is proposed.
func TestRefusedChangesOfMembers(t *testing.T) {
	const at = "10.0.0.4:7601"
	says := func(change func(h *peerv1.Hello)) func(*testCluster) {
		return func(c *testCluster) {
			h := waitingNode("n4", "d0000000-1111")
			change(h)
			c.nodes["n1"].members.answer(at, h, nil)
		}
	}
	fails := func(h *peerv1.Hello, err error) func(*testCluster) {
		return func(c *testCluster) { c.nodes["n1"].members.answer(at, h, err) }
	}
	away := func(names ...string) func(*testCluster) {
		return func(c *testCluster) {
			for _, name := range names {
				c.refuseDials(name, errRefused)
			}
		}
	}
	state := func(change func(st *NodeStatus)) func(*testCluster) {
		return func(c *testCluster) { c.nodes["n1"].agreement.change(change) }
	}
	all := func(do ...func(*testCluster)) func(*testCluster) {
		return func(c *testCluster) {
			for _, d := range do {
				d(c)
			}
		}
	}
	spare := says(func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n3", "e0000000-1111" })
	tests := map[string]struct {
		prepare func(*testCluster)
		do      func(*testNode, context.Context) error
		code    codes.Code
		reason  string
		says    string // in the message
	}{
		"add without a name":                 {nil, add("", at), codes.InvalidArgument, "INVALID_ARGUMENT", "name is required"},
		"add of a name that none is":         {nil, add("N 4", at), codes.InvalidArgument, "INVALID_ARGUMENT", `name is "N 4", which no node is called`},
		"add of a very long name":            {nil, add(strings.Repeat("n", 200), at), codes.InvalidArgument, "INVALID_ARGUMENT", "which no node is called"},
		"add without an address":             {nil, add("n4", ""), codes.InvalidArgument, "INVALID_ARGUMENT", "peer_address is required"},
		"add at no address":                  {nil, add("n4", "n4"), codes.InvalidArgument, "INVALID_ARGUMENT", `peer_address is "n4", which is not host:port`},
		"add at a URL":                       {nil, add("n4", "http://n4:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "without a scheme"},
		"add at a bare IPv6 address":         {nil, add("n4", "fe80::1:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "stands in brackets"},
		"add at no host":                     {nil, add("n4", ":7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "names no host"},
		"add everywhere":                     {nil, add("n4", "0.0.0.0:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "nobody can reach it"},
		"add everywhere of IPv6":             {nil, add("n4", "[::]:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "nobody can reach it"},
		"add at port 0":                      {nil, add("n4", "n4:0"), codes.InvalidArgument, "INVALID_ARGUMENT", "port is not a number from 1 to 65535"},
		"add at a port that is none":         {nil, add("n4", "n4:peer"), codes.InvalidArgument, "INVALID_ARGUMENT", "port is not a number from 1 to 65535"},
		"add at a port too high":             {nil, add("n4", "n4:76010"), codes.InvalidArgument, "INVALID_ARGUMENT", "port is not a number from 1 to 65535"},
		"add at two addresses":               {nil, add("n4", "n4:7601,n5:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "is not host:port"},
		"add at two hosts":                   {nil, add("n4", "n4,n5:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "is no name and no IP address"},
		"add at name=address":                {nil, add("n4", "a b:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "is no name and no IP address"},
		"add at an address of control chars": {nil, add("n4", "n4\x00:7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "peer_address"},
		"add at a very long address":         {nil, add("n4", strings.Repeat("n", 300)+":7601"), codes.InvalidArgument, "INVALID_ARGUMENT", "peer_address is 305 bytes long"},

		"add of who is not there": {nil, add("n4", at), codes.FailedPrecondition, "MEMBER_UNREACHABLE", "no node answers at 10.0.0.4:7601: connection refused; start n4 there first, with an empty data directory: rollcall serve --node n4 --data DIR --join PEER --advertise-api HOST:PORT --advertise-peer 10.0.0.4:7601"},
		"add of who is silent":    {fails(nil, context.DeadlineExceeded), add("n4", at), codes.FailedPrecondition, "MEMBER_UNREACHABLE", ": no answer;"},
		"add at a port of others": {fails(nil, errors.New("what listens there does not speak rollcall's peer protocol: is it the peer port?")), add("n4", at), codes.FailedPrecondition, "MEMBER_UNREACHABLE",
			"not written: this node cannot talk to n4 at 10.0.0.4:7601: what listens there does not speak rollcall's peer protocol: is it the peer port?"},
		"add of an impostor":      {fails(nil, &ImpostorError{errors.New(`the certificate is for "n9"`)}), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", `does not prove to be n4: the certificate is for "n9"`},
		"add of another node":     {says(func(h *peerv1.Hello) { h.Node = "n9" }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", `"n9" answers at 10.0.0.4:7601, not n4; give the address of the peer port of n4, or start n4 there`},
		"add of a nameless node":  {says(func(h *peerv1.Hello) { h.Node = "" }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", "a node without a name"},
		"add at this node's own":  {says(func(h *peerv1.Hello) { h.Node, h.ClusterId, h.Waiting = "n1", "3f9a", nil }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", "is the address of n1 itself"},
		"add of another cluster":  {says(func(h *peerv1.Hello) { h.ClusterId, h.Waiting, h.DirectoryId = "77aa1234", nil, "" }), add("n4", at), codes.FailedPrecondition, "MEMBER_NOT_EMPTY", "belongs to another cluster (77aa, and this is 3f9a)"},
		"add of who was a member": {says(func(h *peerv1.Hello) { h.ClusterId, h.Waiting = "3f9a", nil }), add("n4", at), codes.FailedPrecondition, "MEMBER_NOT_EMPTY", "belonged to this cluster before"},
		"add of a founder":        {says(func(h *peerv1.Hello) { h.Waiting = nil }), add("n4", at), codes.FailedPrecondition, "MEMBER_NOT_WAITING", "is about to found a cluster"},
		"add of who waits for its own founders": {says(func(h *peerv1.Hello) { h.Members = memberList("n4", "n8") }), add("n4", at), codes.FailedPrecondition, "MEMBER_NOT_WAITING",
			"n4 at 10.0.0.4:7601 is about to found a cluster, and does not wait to be added to this one; start it with --join in place of --member"},
		"add at the API address of a member": {says(func(h *peerv1.Hello) { h.Waiting.ApiAddress = "n2:7600" }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH",
			"n4 at 10.0.0.4:7601 says that clients find it at n2:7600, but that is the API address of n2, which answers; start n4 with an --advertise-api of its own"},
		"add at the API address of this node": {says(func(h *peerv1.Hello) { h.Waiting.ApiAddress = "n1:7600" }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", "that is the API address of n1, which answers"},
		"add of who has no data":              {says(func(h *peerv1.Hello) { h.DirectoryId = "" }), add("n4", at), codes.InvalidArgument, "MEMBER_MISMATCH", "does not say which data directory"},
		"add of an old version":               {says(func(h *peerv1.Hello) { h.Level, h.Version, h.Waiting = 0, "v0.1.0", nil }), add("n4", at), codes.FailedPrecondition, "UPGRADE_INCOMPLETE", "n4 runs v0.1.0, which can read feature level 1 at most, and the cluster needs 2"},
		"add of a level too low":              {all(says(func(*peerv1.Hello) {}), state(func(st *NodeStatus) { st.Level = 3 })), add("n4", at), codes.FailedPrecondition, "UPGRADE_INCOMPLETE", "level 2 at most, and the cluster needs 3"},
		"add of who does not want":            {fails(waitingNode("n4", "d0000000-1111"), errors.New("n4 speaks version 3 of the hello")), add("n4", at), codes.FailedPrecondition, "MEMBER_UNREACHABLE", "does not answer this node: n4 speaks version 3"},
		"add of a silent founder": {func(c *testCluster) {
			c.nodes["n1"].members.change(func(f *fakeMembers) { f.founders = map[string]*logv1.Member{"n4": {Name: "n4"}} })
		}, add("n4", at), codes.AlreadyExists, "MEMBER_EXISTS", "n4 is a member already, since the cluster was founded"},

		"remove without a name":         {nil, remove("", false), codes.InvalidArgument, "INVALID_ARGUMENT", "name is required"},
		"remove of a name none has":     {nil, remove("n3!", true), codes.InvalidArgument, "INVALID_ARGUMENT", "which no node is called"},
		"remove without quorum":         {away("n2"), remove("n3", false), codes.FailedPrecondition, "WOULD_LOSE_QUORUM", "without n3 there are 2 voters, 2 of them must answer for writes to go on; answering: 1, silent: n2 (connection refused); mend those first, or remove n3 all the same with --force"},
		"remove of self, no quorum":     {away("n2"), remove("n1", false), codes.FailedPrecondition, "WOULD_LOSE_QUORUM", "without n1 there are 2 voters"},
		"remove of the last voter":      {state(func(st *NodeStatus) { st.Members = st.Members[:1] }), remove("n1", false), codes.FailedPrecondition, "LAST_VOTER", "n1 is the only voter that stays"},
		"remove of it by force":         {state(func(st *NodeStatus) { st.Members = st.Members[:1] }), remove("n1", true), codes.FailedPrecondition, "LAST_VOTER", "n1 is the only voter that stays"},
		"remove of the last that stays": {func(c *testCluster) { c.leaves("n2"); c.leaves("n3") }, remove("n1", true), codes.FailedPrecondition, "LAST_VOTER", "n1 is the only voter that stays"},
		"remove while another goes": {state(func(st *NodeStatus) {
			st.Members[1] = proto.CloneOf(st.Members[1])
			st.Members[1].Phase = rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING
		}), remove("n3", false), codes.FailedPrecondition, "CHANGE_IN_PROGRESS", "n2 is still being removed"},
		"remove while one is gone":  {state(func(st *NodeStatus) { st.GoneVoters = []string{"n2"} }), remove("n3", false), codes.FailedPrecondition, "CHANGE_IN_PROGRESS", "n2 is still being removed"},
		"replace without a name":    {nil, replace("", "", false), codes.InvalidArgument, "INVALID_ARGUMENT", "name is required"},
		"replace at no address":     {nil, replace("n3", "n3", false), codes.InvalidArgument, "INVALID_ARGUMENT", "which is not host:port"},
		"replace of an unknown one": {nil, replace("n9", at, false), codes.NotFound, "NOT_FOUND", `member "n9" does not exist`},
		"replace by who is away":    {nil, replace("n3", at, false), codes.FailedPrecondition, "MEMBER_UNREACHABLE", "no node answers at 10.0.0.4:7601"},
		"replace by another":        {says(func(*peerv1.Hello) {}), replace("n3", at, false), codes.InvalidArgument, "MEMBER_MISMATCH", `"n4" answers at 10.0.0.4:7601, not n3`},
		"replace by itself": {says(func(h *peerv1.Hello) {
			h.Node, h.ClusterId, h.Waiting, h.DirectoryId = "n3", "3f9a", nil, "c0000000-1111"
		}), replace("n3", at, false), codes.FailedPrecondition, "MEMBER_ANSWERS", "with the data directory that the cluster knows (c0000000): there is nothing to replace"},
		"replace of who lives": {spare, replace("n3", at, false), codes.FailedPrecondition, "MEMBER_ANSWERS", "n3 lives"},
		"replace by who founds": {all(spare, away("n3"), says(func(h *peerv1.Hello) {
			h.Node, h.DirectoryId, h.Members = "n3", "e0000000-1111", memberList("n3", "n8")
		})), replace("n3", at, false), codes.FailedPrecondition, "MEMBER_NOT_WAITING", "is about to found a cluster"},
		"replace with the API address of a member": {all(away("n3"), says(func(h *peerv1.Hello) {
			h.Node, h.DirectoryId, h.Waiting.ApiAddress = "n3", "e0000000-1111", "n2:7600"
		})), replace("n3", at, false), codes.InvalidArgument, "MEMBER_MISMATCH", "that is the API address of n2, which answers"},
		"replace of self, as the dial says": {fails(hello(func(h *peerv1.Hello) { h.Node = "n1" }), errors.New("n1 was called by another node named n1")), replace("n1", at, false), codes.FailedPrecondition, "MEMBER_ANSWERS", "n1 lives"},
		"replace of self":                   {says(func(h *peerv1.Hello) { h.Node = "n1" }), replace("n1", at, false), codes.FailedPrecondition, "MEMBER_ANSWERS", "n1 lives"},
		"replace without quorum":            {all(spare, away("n2", "n3")), replace("n3", at, false), codes.FailedPrecondition, "WOULD_LOSE_QUORUM", "or replace n3 all the same with --force"},
		"replace while another goes":        {all(spare, away("n3"), state(func(st *NodeStatus) { st.GoneVoters = []string{"n2"} })), replace("n3", at, false), codes.FailedPrecondition, "CHANGE_IN_PROGRESS", "n2 is still being removed"},
		"replace by another cluster":        {says(func(h *peerv1.Hello) { h.Node, h.ClusterId = "n3", "77aa" }), replace("n3", at, false), codes.FailedPrecondition, "MEMBER_NOT_EMPTY", "another cluster"},
		"promote without a name":            {nil, promote(""), codes.InvalidArgument, "INVALID_ARGUMENT", "name is required"},
	}
	for name, tt := range tests {
		bubble(t, name, func(t *testing.T) {
			c := memberCluster(t, 3)
			c.elect("n1")
			if tt.prepare != nil {
				tt.prepare(c)
			}
			began := time.Now()
			err := tt.do(c.nodes["n1"], timeout(t, time.Minute))
			st := status.Convert(err)
			info := infoOf(err)
			if st.Code() != tt.code || info.GetReason() != tt.reason || !strings.Contains(st.Message(), tt.says) || info.GetMetadata()["written"] != "no" || strings.ContainsAny(st.Message(), "\n\x00") {
				t.Errorf("got %v %v, want %v %s with %q", err, info, tt.code, tt.reason, tt.says)
			}
			if n := c.nodes["n1"].agreement.count(); n != 0 {
				t.Errorf("%d commands are proposed", n)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestMemberChangesThatAreTaken: what looks like one of the refusals, and is none.
func TestMemberChangesThatAreTaken(t *testing.T) {
	const at = "10.0.0.4:7601"
	for name, tt := range map[string]struct {
		prepare func(*testCluster)
		do      func(*testNode, context.Context) error
		probed  bool
	}{
		"remove of the one that is away":           {func(c *testCluster) { c.refuseDials("n3", errRefused) }, remove("n3", false), false},
		"remove without quorum, by force":          {func(c *testCluster) { c.refuseDials("n2", errRefused) }, remove("n3", true), false},
		"remove of an unknown one, for the fold":   {nil, remove("n9", false), false},
		"remove of one that does not vote":         {func(c *testCluster) { c.refuseDials("n2", errRefused); c.joins("n3") }, remove("n3", false), false},
		"remove of one that is removed already":    {func(c *testCluster) { c.leaves("n3") }, remove("n3", false), false},
		"remove while another goes, by force":      {func(c *testCluster) { c.leaves("n2") }, remove("n3", true), false},
		"remove while one that does not vote goes": {func(c *testCluster) { c.leaves("n2"); c.joins("n2") }, remove("n3", false), false},
		"add of an existing one, for the fold":     {nil, add("n3", at), false},
		"replace of the one that is away":          {func(c *testCluster) { c.spare(at, "n3"); c.refuseDials("n3", errRefused) }, replace("n3", at, false), true},
		"replace of who lives, by force":           {func(c *testCluster) { c.spare(at, "n3") }, replace("n3", at, true), true},
		"add of a replacement for a machine, with its addresses": {func(c *testCluster) {
			c.nodes["n1"].members.answer(at, hello(func(h *peerv1.Hello) { h.Waiting.ApiAddress = "n3:7600" }), nil)
			c.refuseDials("n3", errRefused)
		}, add("n4", at), true},
		"add of one with a list of members, some by name": {func(c *testCluster) {
			c.nodes["n1"].members.answer(at, hello(func(h *peerv1.Hello) { h.Members = memberList("n4", "n8", "n2") }), nil)
		}, add("n4", at), true},
		"add of one with a list of members, some by address": {func(c *testCluster) {
			h := hello(func(h *peerv1.Hello) { h.Members = memberList("n4", "n8") })
			h.Members[1].PeerAddress = "n2:7601"
			c.nodes["n1"].members.answer(at, h, nil)
		}, add("n4", at), true},
		"replace of a founder that was never heard": {func(c *testCluster) { c.spare(at, "n3"); c.refuseDials("n3", errRefused); c.silentFounder("n3") }, replace("n3", at, false), true},
		"replace by force, with who is there by now": {func(c *testCluster) {
			c.nodes["n1"].members.answer(at, hello(func(h *peerv1.Hello) { h.Node, h.DirectoryId, h.ClusterId = "n3", "c0000000-1111", "3f9a" }), nil)
		}, replace("n3", at, true), true},
	} {
		bubble(t, name, func(t *testing.T) {
			c := memberCluster(t, 3)
			c.elect("n1")
			if tt.prepare != nil {
				tt.prepare(c)
			}
			commands := c.foldMembers(folded)
			if err := tt.do(c.nodes["n1"], timeout(t, time.Minute)); err != nil || len(*commands) != 1 {
				t.Errorf("%v, %d commands", err, len(*commands))
			}
			if probed := len(c.nodes["n1"].members.probed) > 0; probed != tt.probed {
				t.Errorf("a node is asked who it is: %v", probed)
			}
		})
	}
}

// memberList is a list of --member, as a node tells it.
func memberList(names ...string) (members []*peerv1.MemberAddress) {
	for _, name := range names {
		members = append(members, &peerv1.MemberAddress{Name: name, PeerAddress: "10.9.9.9:" + name})
	}
	return members
}

func hello(change func(h *peerv1.Hello)) *peerv1.Hello {
	h := waitingNode("n4", "d0000000-1111")
	change(h)
	return h
}

// joins has a member not vote yet, as n1 knows it.
func (c *testCluster) joins(name string) {
	c.alter(name, func(m *rollcallv1.Member) {
		m.Voter = false
		if m.Phase == rollcallv1.MemberPhase_MEMBER_PHASE_VOTER {
			m.Phase = rollcallv1.MemberPhase_MEMBER_PHASE_JOINING
		}
	})
}

// leaves has a member be removed, and still be in raft's configuration.
func (c *testCluster) leaves(name string) {
	c.alter(name, func(m *rollcallv1.Member) { m.Phase = rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING })
	c.nodes["n1"].members.change(func(f *fakeMembers) { delete(f.records, name) })
}

func (c *testCluster) alter(name string, change func(*rollcallv1.Member)) {
	c.nodes["n1"].agreement.change(func(st *NodeStatus) {
		st.Members = slices.Clone(st.Members)
		for i, m := range st.Members {
			if m.GetName() == name {
				st.Members[i] = proto.CloneOf(m)
				change(st.Members[i])
			}
		}
	})
}

// spare has a node wait at an address that would be a member of that name.
func (c *testCluster) spare(address, name string) {
	c.nodes["n1"].members.answer(address, waitingNode(name, "e0000000-1111"), nil)
}

func (c *testCluster) silentFounder(name string) {
	c.nodes["n1"].members.change(func(f *fakeMembers) {
		delete(f.records, name)
		f.founders = map[string]*logv1.Member{name: {Name: name, PeerAddress: name + ":7601", DirectoryId: logv1.UnknownDirectory(name)}}
	})
}

// TestAddOfANameThatIsTaken: the fold refuses it, and the answer says what the node at that address is, and so what to do.
func TestAddOfANameThatIsTaken(t *testing.T) {
	const at = "10.0.0.4:7601"
	for name, tt := range map[string]struct {
		member string
		h      *peerv1.Hello // nil: nobody answers
		err    error
		says   string
	}{
		"by the member itself": {"n3", hello(func(h *peerv1.Hello) {
			h.Node, h.DirectoryId, h.ClusterId, h.Waiting = "n3", "c0000000-1111", "3f9a", nil
		}), nil, "n3 is a member already, with the data directory of the node at 10.0.0.4:7601 (c0000000); there is nothing to do"},
		"by one with another directory": {"n3", hello(func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n3", "e0000000-1111" }), nil,
			"n3 is a member already, with another data directory (c0000000) than the node at 10.0.0.4:7601 (e0000000); if that of the member is lost, replace it: rollcall member replace n3 --peer 10.0.0.4:7601; else give the new node another name"},
		"by one with the name of the node that is asked": {"n1", hello(func(h *peerv1.Hello) { h.Node = "n1" }), errors.New("n1 was called by another node named n1"),
			"n1 is a member already, with another data directory (a0000000) than the node at 10.0.0.4:7601 (d0000000)"},
		"by nobody":         {"n3", nil, nil, "n3 is a member already, at n3:7601 (directory c0000000); give the new node another name"},
		"by who is another": {"n3", hello(func(h *peerv1.Hello) {}), nil, "n3 is a member already, at n3:7601 (directory c0000000); give the new node another name"},
	} {
		bubble(t, name, func(t *testing.T) {
			c := memberCluster(t, 3)
			c.elect("n1")
			n := c.nodes["n1"]
			if tt.h != nil {
				n.members.answer(at, tt.h, tt.err)
			}
			c.foldMembers(func(cmd *logv1.MemberCommand) *logv1.Result {
				id := cmd.GetAdd().GetMember().GetDirectoryId()
				return &logv1.Result{Refusal: &logv1.Refusal{Reason: logv1.Refusal_REASON_MEMBER_EXISTS, Kind: logv1.Kind_KIND_MEMBER, Key: tt.member, Given: id, Held: id}}
			})
			err := add(tt.member, at)(n, timeout(t, time.Minute))
			info := infoOf(err)
			if status.Code(err) != codes.AlreadyExists || info.GetReason() != "MEMBER_EXISTS" || info.GetMetadata()["written"] != "no" || !strings.Contains(status.Convert(err).Message(), tt.says) {
				t.Errorf("got %v %v, want %q", err, info, tt.says)
			}
		})
	}
}
