package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	"github.com/rollcallhq/rollcall/store"
)

const (
	// helloProtocol is the version of what follows the preamble.
	helloProtocol = 1
	// maxHello bounds what a stranger can make a node read and keep, in bytes.
	maxHello = 64 << 10
)

// preamble opens a connection from both sides. Its last byte is the version of the framing.
var preamble = [4]byte{'R', 'C', 'P', 1}

var errNotPeer = errors.New("does not speak rollcall's peer protocol (is it the peer port?)")

// writeHello sends the preamble, the length of the hello as four big-endian bytes, and the hello.
func writeHello(w io.Writer, h *peerv1.Hello) error {
	b := make([]byte, len(preamble)+4, len(preamble)+4+proto.Size(h))
	copy(b, preamble[:])
	b, err := proto.MarshalOptions{}.MarshalAppend(b, h)
	if err != nil {
		return fmt.Errorf("encode hello: %w", err)
	}
	size := len(b) - len(preamble) - 4
	if size > maxHello {
		return fmt.Errorf("hello is %d bytes long; at most %d are allowed", size, maxHello)
	}
	binary.BigEndian.PutUint32(b[len(preamble):], uint32(size))
	_, err = w.Write(b)
	return err
}

// readHello reads what writeHello sends, and not a byte more.
func readHello(r io.Reader) (*peerv1.Hello, error) {
	var head [len(preamble) + 4]byte
	// The preamble by itself: who speaks another protocol may never send four bytes more.
	if _, err := io.ReadFull(r, head[:len(preamble)]); err != nil {
		return nil, err
	}
	if !bytes.Equal(head[:3], preamble[:3]) {
		return nil, errNotPeer
	}
	if head[3] != preamble[3] {
		return nil, fmt.Errorf("speaks version %d of rollcall's peer protocol, this node version %d", head[3], preamble[3])
	}
	if _, err := io.ReadFull(r, head[len(preamble):]); err != nil {
		return nil, unexpected(err)
	}
	size := binary.BigEndian.Uint32(head[len(preamble):])
	if size > maxHello {
		return nil, fmt.Errorf("sent a hello of %d bytes; at most %d are allowed", size, maxHello)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, unexpected(err)
	}
	h := &peerv1.Hello{}
	if err := h.UnmarshalVT(b); err != nil {
		return nil, fmt.Errorf("sent a hello that cannot be read: %w", err)
	}
	if err := checkHello(h); err != nil {
		return nil, err
	}
	return h, nil
}

// checkHello bounds what goes on into logs, answers and identity.json.
func checkHello(h *peerv1.Hello) error {
	ok := len(h.GetClusterId()) <= 64 && len(h.GetDirectoryId()) <= 64 && len(h.GetYourDirectoryId()) <= 64 &&
		len(h.GetVersion()) <= 128 && len(h.GetRefusal()) <= 2048 &&
		len(h.GetMembers()) <= maxMembers && len(h.GetFounding().GetMembers()) <= maxMembers &&
		len(h.GetFounding().GetClusterId()) <= 64
	for _, text := range []string{h.GetClusterId(), h.GetDirectoryId(), h.GetYourDirectoryId(), h.GetVersion(), h.GetRefusal(), h.GetFounding().GetClusterId()} {
		ok = ok && utf8.ValidString(text)
	}
	for _, name := range []string{h.GetNode(), h.GetTo(), h.GetSuccession().GetLeader()} {
		ok = ok && (name == "" || validNodeName(name))
	}
	for _, m := range h.GetMembers() {
		ok = ok && validNodeName(m.GetName()) && len(m.GetPeerAddress()) <= maxAddress && utf8.ValidString(m.GetPeerAddress())
	}
	for _, m := range h.GetFounding().GetMembers() {
		ok = ok && validNodeName(m.GetName()) && len(m.GetPeerAddress()) <= maxAddress && len(m.GetDirectoryId()) <= 64 &&
			utf8.ValidString(m.GetPeerAddress()) && utf8.ValidString(m.GetDirectoryId())
	}
	if !ok {
		return errors.New("sent a hello with a name, an id or a list that is not allowed")
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// view is what a node knows of itself and its cluster at one moment. Everything that is decided
// about a peer is decided on a view and the peer's hello alone.
type view struct {
	node        string
	directoryID string
	version     string
	members     []Member        // as configured, by name
	founding    *store.Founding // nil: belongs to no cluster
	known       map[string]string
	running     bool // raft runs
}

// newView takes announced from the fold; what it says of a member is newer than the founding.
func newView(cfg *Config, directoryID string, founding *store.Founding, running bool) view {
	v := view{
		node:        cfg.Node,
		directoryID: directoryID,
		version:     cfg.Version,
		members:     cfg.Members,
		founding:    founding,
		known:       map[string]string{},
		running:     running,
	}
	if founding == nil {
		return v
	}
	for _, m := range founding.Members {
		v.known[m.Name] = m.DirectoryID
	}
	for name, m := range cfg.State.Members() {
		if m.GetDirectoryId() != "" || v.known[name] == "" {
			v.known[name] = m.GetDirectoryId()
		}
	}
	return v
}

// clusterID is "" for a node that belongs to no cluster.
func (v view) clusterID() string {
	if v.founding == nil {
		return ""
	}
	return v.founding.ClusterID
}

// hello is what the node says of itself to the named peer.
func (v view) hello(purpose peerv1.Hello_Purpose, to string) *peerv1.Hello {
	h := &peerv1.Hello{
		Protocol:        helloProtocol,
		Purpose:         purpose,
		Node:            v.node,
		To:              to,
		ClusterId:       v.clusterID(),
		DirectoryId:     v.directoryID,
		Version:         v.version,
		YourDirectoryId: v.known[to],
	}
	for _, m := range v.members {
		h.Members = append(h.Members, &peerv1.MemberAddress{Name: m.Name, PeerAddress: m.PeerAddress})
	}
	if v.founding != nil {
		h.Founding = foundingToProto(v.founding)
	}
	return h
}

// refuse says why the node does not want what a dialer asks for; "": it does. A probe is only
// refused by who is not meant: all else it wants to know.
func (v view) refuse(h *peerv1.Hello) string {
	switch {
	case h.GetProtocol() != helloProtocol:
		return fmt.Sprintf("%s speaks version %d of the hello, %s version %d", v.node, helloProtocol, h.GetNode(), h.GetProtocol())
	case h.GetTo() != v.node:
		return fmt.Sprintf("this is %s, not %s", v.node, h.GetTo())
	case h.GetNode() == "" || h.GetDirectoryId() == "":
		return "the hello names no node or no data directory"
	case h.GetNode() == v.node:
		return fmt.Sprintf("%s was called by another node named %s", v.node, v.node)
	}
	switch h.GetPurpose() {
	case peerv1.Hello_PURPOSE_PROBE:
		return ""
	case peerv1.Hello_PURPOSE_RAFT, peerv1.Hello_PURPOSE_RPC:
	default:
		return fmt.Sprintf("%s does not know purpose %d", v.node, h.GetPurpose())
	}
	if reason := v.stranger(h); reason != "" {
		return reason
	}
	if h.GetClusterId() == "" {
		return fmt.Sprintf("%s belongs to cluster %s, %s to none yet", v.node, ShortClusterID(v.clusterID()), h.GetNode())
	}
	if !v.running {
		return fmt.Sprintf("%s is starting", v.node)
	}
	return ""
}

// stranger says why the sender of a hello is not the member of this cluster that it says it is; ""
// if it is, or if it belongs to no cluster yet.
func (v view) stranger(h *peerv1.Hello) string {
	if v.founding == nil {
		return fmt.Sprintf("%s belongs to no cluster yet", v.node)
	}
	if id := h.GetClusterId(); id != "" && id != v.clusterID() {
		return fmt.Sprintf("%s belongs to cluster %s, %s to cluster %s",
			v.node, ShortClusterID(v.clusterID()), h.GetNode(), ShortClusterID(id))
	}
	directory, ok := v.known[h.GetNode()]
	if !ok {
		return fmt.Sprintf("%s is not a member of cluster %s", h.GetNode(), ShortClusterID(v.clusterID()))
	}
	if directory != "" && directory != h.GetDirectoryId() {
		return fmt.Sprintf("%s has another data directory than the one cluster %s knows; see \"rollcall member replace\"",
			h.GetNode(), ShortClusterID(v.clusterID()))
	}
	return ""
}

// reject says why the dialer does not want the connection after all, given the acceptor's answer
// from address; nil: it does.
func (v view) reject(purpose peerv1.Hello_Purpose, to, address string, h *peerv1.Hello) error {
	refused := func(reason string) error {
		return &RefusedError{Peer: to, Address: address, Reason: reason}
	}
	switch {
	case h.GetNode() != to && h.GetNode() != "":
		return refused(fmt.Sprintf("%s is %s, not %s", address, h.GetNode(), to))
	case h.GetRefusal() != "":
		return refused(h.GetRefusal())
	case h.GetProtocol() != helloProtocol:
		return refused(fmt.Sprintf("%s speaks version %d of the hello, %s version %d", to, h.GetProtocol(), v.node, helloProtocol))
	case h.GetNode() == "" || h.GetDirectoryId() == "":
		return refused(fmt.Sprintf("the hello of %s names no node or no data directory", address))
	case purpose == peerv1.Hello_PURPOSE_PROBE:
		return nil
	}
	if reason := v.stranger(h); reason != "" {
		return refused(reason)
	}
	return nil
}

// ShortClusterID is how people see a cluster id: its first four digits.
func ShortClusterID(id string) string { return id[:min(4, len(id))] }

func foundingToProto(f *store.Founding) *peerv1.Founding {
	p := &peerv1.Founding{ClusterId: f.ClusterID}
	for _, m := range f.Members {
		p.Members = append(p.Members, &peerv1.FoundingMember{Name: m.Name, PeerAddress: m.PeerAddress, DirectoryId: m.DirectoryID})
	}
	return p
}

func foundingFromProto(p *peerv1.Founding) *store.Founding {
	f := &store.Founding{ClusterID: p.GetClusterId()}
	for _, m := range p.GetMembers() {
		f.Members = append(f.Members, store.FoundingMember{Name: m.GetName(), PeerAddress: m.GetPeerAddress(), DirectoryID: m.GetDirectoryId()})
	}
	return f
}

// foundingDirectory is the data directory that a founding gives a member.
func foundingDirectory(f *peerv1.Founding, name string) (directory string, ok bool) {
	for _, m := range f.GetMembers() {
		if m.GetName() == name {
			return m.GetDirectoryId(), true
		}
	}
	return "", false
}

// describeMembers renders a member list as operators write it.
func describeMembers(members map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + members[name])
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}
