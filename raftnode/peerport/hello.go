package peerport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
)

const (
	// helloProtocol is the version of what follows the preamble.
	helloProtocol = 1
	// maxHello bounds what a stranger can make a node read and keep, in bytes.
	maxHello = 64 << 10
)

// preamble opens a connection from both sides. Its last byte is the version of the framing.
var preamble = [4]byte{'R', 'C', 'P', 1}

var errNotPeer = errors.New("what listens there does not speak rollcall's peer protocol: is it the peer port?")

// WriteHello sends the preamble, the length of the hello as four big-endian bytes, and the hello.
func WriteHello(w io.Writer, h *peerv1.Hello) error {
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

// ReadHello reads what WriteHello sends, and not a byte more.
func ReadHello(r io.Reader) (*peerv1.Hello, error) {
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
		len(h.GetMembers()) <= MaxMembers && len(h.GetFounding().GetMembers()) <= MaxMembers &&
		len(h.GetFounding().GetClusterId()) <= 64 && len(h.GetRoster().GetMembers()) <= MaxMembers &&
		len(h.GetRemoved().GetDirectoryId()) <= 64 && len(h.GetRemoved().GetBy()) <= 64 &&
		len(h.GetWaiting().GetApiAddress()) <= limits.MaxAddressBytes
	for _, text := range []string{h.GetClusterId(), h.GetDirectoryId(), h.GetYourDirectoryId(), h.GetVersion(), h.GetRefusal(), h.GetFounding().GetClusterId(),
		h.GetRemoved().GetDirectoryId(), h.GetRemoved().GetBy(), h.GetWaiting().GetApiAddress()} {
		ok = ok && utf8.ValidString(text)
	}
	for _, name := range []string{h.GetNode(), h.GetTo(), h.GetLeaderLoss().GetLeader()} {
		ok = ok && (name == "" || limits.NodeName(name))
	}
	for _, m := range h.GetMembers() {
		ok = ok && limits.NodeName(m.GetName()) && len(m.GetPeerAddress()) <= limits.MaxAddressBytes && utf8.ValidString(m.GetPeerAddress())
	}
	for _, m := range h.GetFounding().GetMembers() {
		ok = ok && limits.NodeName(m.GetName()) && len(m.GetPeerAddress()) <= limits.MaxAddressBytes && len(m.GetDirectoryId()) <= 64 &&
			utf8.ValidString(m.GetPeerAddress()) && utf8.ValidString(m.GetDirectoryId())
	}
	for _, m := range h.GetRoster().GetMembers() {
		ok = ok && limits.NodeName(m.GetName()) && len(m.GetPeerAddress()) <= limits.MaxAddressBytes && len(m.GetDirectoryId()) <= 64 &&
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
