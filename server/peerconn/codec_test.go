package peerconn

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	peerv1 "github.com/rollcallhq/rollcall/api/rollcall/peer/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestCodec: both ways, of messages with generated methods and without, in one piece and in several.
func TestCodec(t *testing.T) {
	ours := NewCodec()
	theirs := ours.CodecV2
	for name, m := range map[string]proto.Message{
		"between members": &peerv1.ForwardRequest{Commands: []*peerv1.ForwardedCommand{
			{Id: 7, Timeout: 9, Command: &logv1.Command{Reason: "a reason", RequestId: "id"}}, {Id: 8, ValidateOnly: true},
		}},
		"empty":      &peerv1.ForwardResponse{},
		"of the API": &rollcallv1.GetStatusRequest{},
	} {
		sent, err := ours.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		wire := sent.Materialize()
		expected, err := theirs.Marshal(m)
		if err != nil || !bytes.Equal(wire, expected.Materialize()) {
			t.Errorf("%s: %x, want %x (%v)", name, wire, expected.Materialize(), err)
		}
		for _, data := range []mem.BufferSlice{
			{mem.SliceBuffer(wire)},
			{mem.SliceBuffer(wire[:len(wire)/2]), mem.SliceBuffer(wire[len(wire)/2:])},
		} {
			got := m.ProtoReflect().New().Interface()
			if err := ours.Unmarshal(data, got); err != nil || !proto.Equal(got, m) {
				t.Errorf("%s in %d pieces: %v, %v", name, len(data), got, err)
			}
		}
	}
	var cut peerv1.ForwardRequest
	if ours.Unmarshal(mem.BufferSlice{mem.SliceBuffer{10, 200}}, &cut) == nil {
		t.Error("a message that is cut off is decoded")
	}
	if _, err := ours.Marshal("text"); err == nil {
		t.Error("what is no message is encoded")
	}
}

// TestDecodedIsACopy: gRPC uses the buffer again.
func TestDecodedIsACopy(t *testing.T) {
	sent, err := NewCodec().Marshal(&peerv1.ForwardRequest{Commands: []*peerv1.ForwardedCommand{{Command: &logv1.Command{Reason: "a reason"}}}})
	if err != nil {
		t.Fatal(err)
	}
	wire := sent.Materialize()
	var got peerv1.ForwardRequest
	if err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, &got); err != nil {
		t.Fatal(err)
	}
	clear(wire)
	if reason := got.GetCommands()[0].GetCommand().GetReason(); reason != "a reason" {
		t.Errorf("decoded is %q", reason)
	}
}
