package flowcontrol

import (
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
)

// checkAnswers are the encoded answers to Check, by status. They belong to no pool, so all calls share them.
var checkAnswers = func() (all [4]mem.BufferSlice) {
	for s := range all {
		all[s] = mem.BufferSlice{mem.SliceBuffer(statusBytes[s])}
	}
	return all
}()

// Codec is gRPC's own codec with two additions: it knows StatusSender, PageSender and AnswerSender, and it encodes and
// decodes the messages of Check faster.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns a Codec.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(encodingproto.Name)} }

func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *StatusSender:
		return v.marshal(), nil
	case *PageSender:
		return v.marshal()
	case *AnswerSender:
		return v.marshal()
	case *answer:
		return v.marshal()
	case *healthpb.HealthCheckResponse:
		// What this server answers has no other field.
		if s := v.GetStatus(); s >= 0 && int(s) < len(checkAnswers) {
			return checkAnswers[s], nil
		}
	}
	return c.CodecV2.Marshal(v)
}

func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if req, ok := v.(*healthpb.HealthCheckRequest); ok && len(data) == 1 {
		if name, ok := onlyService(data[0].ReadOnlyData()); ok {
			req.Reset()
			req.Service = string(name)
			return nil
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// onlyService returns the name in an encoded HealthCheckRequest that holds only a name, of up to 127 bytes.
// false: decode it in the general way.
func onlyService(b []byte) (name []byte, ok bool) {
	const tag, shorter = 1<<3 | 2, 128 // field 1, bytes; a length of one byte
	if len(b) < 2 || b[0] != tag || b[1] >= shorter || int(b[1]) != len(b)-2 || !utf8.Valid(b[2:]) {
		return nil, false
	}
	return b[2:], true
}
