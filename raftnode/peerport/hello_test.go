package peerport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/store"
)

func TestHelloRoundTrip(t *testing.T) {
	v := clusterView("n1", true)
	h := v.Hello(peerv1.Hello_PURPOSE_RAFT, "n2")
	var b bytes.Buffer
	if err := WriteHello(&b, h); err != nil {
		t.Fatal(err)
	}
	b.WriteString("next")
	got, err := ReadHello(iotest.OneByteReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(h, got) {
		t.Errorf("got %v, want %v", got, h)
	}
	if rest, _ := io.ReadAll(&b); string(rest) != "next" {
		t.Errorf("what follows the hello is %q", rest)
	}
	if err := WriteHello(io.Discard, &peerv1.Hello{Refusal: strings.Repeat("x", maxHello)}); err == nil {
		t.Error("a hello that nobody would read was written")
	}
}

// framed puts a preamble and a length before b.
func framed(version byte, size uint32, b string) string {
	return string(binary.BigEndian.AppendUint32([]byte{'R', 'C', 'P', version}, size)) + b
}

func TestReadHelloRefuses(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"nothing":         {"", "EOF"},
		"half a preamble": {"RC", "unexpected EOF"},
		"HTTP":            {"GET / HTTP/1.1\r\n\r\n", "does not speak rollcall's peer protocol"},
		"HTTP/2 settings": {"\x00\x00\x06\x04\x00\x00\x00\x00\x00", "does not speak rollcall's peer protocol"},
		"newer":           {framed(2, 0, ""), "speaks version 2 of rollcall's peer protocol, this node version 1"},
		"no length":       {"RCP\x01", "unexpected EOF"},
		"too long":        {framed(1, maxHello+1, ""), "sent a hello of 65537 bytes; at most 65536 are allowed"},
		"cut off":         {framed(1, 10, "abc"), "unexpected EOF"},
		"bad name":        {framed(1, 5, "\x1a\x03a\nb"), "sent a hello with a name"},
		"not UTF-8":       {framed(1, 3, "\x2a\x01\xff"), "sent a hello with a name"},
		"unknown field":   {framed(1, 3, "\xf8\x01\x01"), "Hello has an unknown field 31: a newer version of rollcall made it"},
		"unknown, nested": {framed(1, 5, "\x3a\x03\xf8\x01\x01"), "MemberAddress has an unknown field 31"},
		"bad roster":      {framed(1, 7, "\x72\x05\x12\x03\x0a\x01\xff"), "sent a hello with a name"},
		"not protobuf":    {framed(1, 3, "\xff\xff\xff"), "sent a hello that cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := ReadHello(strings.NewReader(test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v; want %q", h, err, test.want)
			}
		})
	}
}

var threeMembers = []Member{
	{Name: "n1", PeerAddress: "h1:7601"},
	{Name: "n2", PeerAddress: "h2:7601"},
	{Name: "n3", PeerAddress: "h3:7601"},
}

func emptyView(node string, members []Member) View {
	return View{Node: node, DirectoryID: "dir-" + node, Members: members, Known: map[string]string{}}
}

// clusterView is a member of a cluster of three whose fold knows n2 by a newer directory and n4.
func clusterView(node string, running bool) View {
	v := emptyView(node, threeMembers)
	v.Founding = &store.Founding{ClusterID: "3f9a000000000000"}
	for _, m := range threeMembers {
		v.Founding.Members = append(v.Founding.Members, store.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress, DirectoryID: "dir-" + m.Name})
		v.Known[m.Name] = "dir-" + m.Name
	}
	v.Known["n2"] = "dir-n2-replaced"
	v.Known["n4"] = ""
	v.Running = running
	return v
}

// levelView is n1 with a binary that reads up to max, in a cluster of a level.
func levelView(max, cluster uint32) View {
	v := clusterView("n1", true)
	v.MaxLevel, v.ClusterLevel = max, cluster
	return v
}

func TestRefuse(t *testing.T) {
	const probe, raft, rpc = peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_RAFT, peerv1.Hello_PURPOSE_RPC
	member := clusterView("n1", true)
	tests := []struct {
		name    string
		view    View
		purpose peerv1.Hello_Purpose
		change  func(*peerv1.Hello)
		want    string // of the acceptor
	}{
		{name: "member, raft", view: member, purpose: raft},
		{name: "member, rpc", view: member, purpose: rpc},
		{name: "known without a directory", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n4", "any" }},
		{name: "replaced directory", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n2", "dir-n2-replaced" }},
		{name: "probe by anybody", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.Node, h.ClusterId = "n9", "77b2" }},
		{name: "probe of an empty node", view: emptyView("n1", threeMembers), purpose: probe},
		{name: "other protocol", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.Protocol = 2 },
			want: "n1 speaks version 1 of the hello, n3 version 2"},
		{name: "meant for another", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.To = "n2" },
			want: "this is n1, not n2"},
		{name: "meant for whoever is there", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.To = "" }},
		{name: "raft with whoever is there", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.To = "" },
			want: "this is n1, not "},
		{name: "itself", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n1", "dir-n1" },
			want: "n1 was called by itself"},
		{name: "no name", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.Node = "" },
			want: "the hello names no node or no data directory"},
		{name: "my own name", view: member, purpose: probe, change: func(h *peerv1.Hello) { h.Node = "n1" },
			want: "n1 was called by another node named n1"},
		{name: "no purpose", view: member, want: "n1 does not know purpose 0"},
		{name: "other cluster", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.ClusterId = "77b2000000000000" },
			want: "n1 belongs to cluster 3f9a, n3 to cluster 77b2"},
		{name: "no cluster", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.ClusterId = "" },
			want: "n1 belongs to cluster 3f9a, n3 to none yet"},
		{name: "unknown name", view: member, purpose: rpc, change: func(h *peerv1.Hello) { h.Node = "n9" },
			want: "n9 is not a member of cluster 3f9a"},
		{name: "another directory", view: member, purpose: raft, change: func(h *peerv1.Hello) { h.DirectoryId = "dir-lost" },
			want: `n3 has another data directory than the one cluster 3f9a knows; start it with that one; if it is lost, with an empty one, and run "rollcall member replace n3"`},
		{name: "directory from before the replacement", view: member, purpose: rpc, change: func(h *peerv1.Hello) { h.Node, h.DirectoryId = "n2", "dir-n2" },
			want: `n2 has another data directory than the one cluster 3f9a knows; start it with that one; if it is lost, with an empty one, and run "rollcall member replace n2"`},
		{name: "empty node, raft", view: emptyView("n1", threeMembers), purpose: raft, want: "n1 belongs to no cluster yet"},
		{name: "older than the cluster's level", view: levelView(2, 2), purpose: rpc, change: func(h *peerv1.Hello) { h.Version = "v1.0.0" },
			want: "cluster 3f9a is at feature level 2; n3 runs v1.0.0, which can read level 1 at most: start a newer version of it"},
		{name: "of the cluster's level", view: levelView(3, 2), purpose: raft, change: func(h *peerv1.Hello) { h.Level = 2 }},
		{name: "newer than this node", view: levelView(1, 1), purpose: raft, change: func(h *peerv1.Hello) { h.Level = 7 }},
		{name: "a probe by an older one", view: levelView(2, 2), purpose: probe},
		{name: "raft does not run yet", view: clusterView("n1", false), purpose: raft, want: "n1 is starting"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := clusterView("n3", true).Hello(test.purpose, "n1")
			if test.change != nil {
				test.change(h)
			}
			if got := test.view.Refuse(h); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestReject(t *testing.T) {
	const probe, raft = peerv1.Hello_PURPOSE_PROBE, peerv1.Hello_PURPOSE_RAFT
	tests := []struct {
		name    string
		purpose peerv1.Hello_Purpose
		change  func(*peerv1.Hello)
		want    string
	}{
		{name: "member", purpose: raft},
		{name: "member that has not joined yet", purpose: probe, change: func(h *peerv1.Hello) { h.ClusterId = "" }},
		{name: "probe of another cluster", purpose: probe, change: func(h *peerv1.Hello) { h.ClusterId = "77b2" }},
		{name: "another node", purpose: probe, change: func(h *peerv1.Hello) { h.Node, h.Refusal = "n2", "this is n2, not n3" },
			want: "127.0.0.1:7611 is n2, not n3"},
		{name: "refused", purpose: raft, change: func(h *peerv1.Hello) { h.Refusal = "because" }, want: "because"},
		{name: "waits with an empty directory", purpose: raft, change: func(h *peerv1.Hello) {
			h.ClusterId, h.DirectoryId, h.Refusal = "", "dir-new", "n3 belongs to no cluster yet"
		}, want: `n3 waits with an empty data directory; if its own is lost, run "rollcall member replace n3"`},
		{name: "has not joined yet", purpose: raft, change: func(h *peerv1.Hello) { h.ClusterId, h.Refusal = "", "n3 belongs to no cluster yet" },
			want: "n3 belongs to no cluster yet"},
		{name: "nameless", purpose: probe, change: func(h *peerv1.Hello) { h.Node = "" },
			want: "the hello of 127.0.0.1:7611 names no node or no data directory"},
		{name: "another cluster", purpose: raft, change: func(h *peerv1.Hello) { h.ClusterId = "77b2" },
			want: "n1 belongs to cluster 3f9a, n3 to cluster 77b2"},
		{name: "another directory", purpose: raft, change: func(h *peerv1.Hello) { h.DirectoryId = "dir-lost" },
			want: `n3 has another data directory than the one cluster 3f9a knows; start it with that one; if it is lost, with an empty one, and run "rollcall member replace n3"`},
		{name: "older than the cluster's level", purpose: raft, change: func(h *peerv1.Hello) { h.Level, h.Version = 1, "v1.0.0" },
			want: "cluster 3f9a is at feature level 2; n3 runs v1.0.0, which can read level 1 at most: start a newer version of it"},
		{name: "a probe of an older one", purpose: probe, change: func(h *peerv1.Hello) { h.Level = 1 }},
		{name: "newer protocol", purpose: raft, change: func(h *peerv1.Hello) { h.Protocol = 2 },
			want: "n3 speaks version 2 of the hello, n1 version 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n3 := clusterView("n3", true)
			n3.MaxLevel = 2
			h := n3.Hello(test.purpose, "n1")
			if test.change != nil {
				test.change(h)
			}
			got := ""
			if err := levelView(2, 2).Reject(test.purpose, "n3", "127.0.0.1:7611", h); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// The largest hello that members can send each other is read: every list is full, of the longest names and addresses.
func TestLargestHello(t *testing.T) {
	v := clusterView("n1", true)
	v.Members, v.Founding.Members, v.Roster = nil, nil, &peerv1.Roster{Revision: 1 << 62}
	for i := range MaxMembers {
		name, address := fmt.Sprintf("%063d", i), strings.Repeat("h", limits.MaxAddressBytes)
		v.Members = append(v.Members, Member{Name: name, PeerAddress: address})
		v.Founding.Members = append(v.Founding.Members, store.FoundingMember{Name: name, PeerAddress: address, DirectoryID: strings.Repeat("d", 36)})
		v.Roster.Members = append(v.Roster.Members, &peerv1.RosterMember{Name: name, PeerAddress: address, DirectoryId: strings.Repeat("d", 36)})
	}
	h := v.Hello(peerv1.Hello_PURPOSE_PROBE, "n2")
	h.Roster = v.Roster
	var b bytes.Buffer
	if err := WriteHello(&b, h); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadHello(&b); err != nil || len(got.GetRoster().GetMembers()) != MaxMembers {
		t.Errorf("%d members, %v", len(got.GetRoster().GetMembers()), err)
	}
}

// Whatever comes in: no panic, no more than the hello is read, and no answer that cannot be sent.
func FuzzHello(f *testing.F) {
	var b bytes.Buffer
	if err := WriteHello(&b, clusterView("n3", true).Hello(peerv1.Hello_PURPOSE_RAFT, "n1")); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(framed(1, 0, "")))
	f.Add([]byte(framed(1, 1<<31, "x")))
	f.Add([]byte("GET / HTTP/1.1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := ReadHello(r)
		if err != nil {
			return
		}
		read := len(in) - r.Len()
		if read > len(preamble)+4+maxHello {
			t.Fatalf("%d bytes were read", read)
		}
		for _, v := range []View{clusterView("n1", true), emptyView("n1", threeMembers)} {
			reply := v.Answer(h)
			reply.Refusal = v.Refuse(h)
			if reply.Refusal == "" && h.GetPurpose() == peerv1.Hello_PURPOSE_RAFT && h.GetClusterId() != "3f9a000000000000" {
				t.Fatalf("raft was let in by %v", h)
			}
			var out bytes.Buffer
			if err := WriteHello(&out, reply); err != nil {
				t.Fatalf("answer to %v: %v", h, err)
			}
			_ = v.Reject(h.GetPurpose(), "n3", "a", h)
		}
	})
}
