package logv1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Format is the newest envelope format this code writes and reads.
const Format = 1

var (
	// ErrChecksum means that sealed bytes are not what was written.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrFormat means that sealed bytes are of a format this code does not know.
	ErrFormat = errors.New("unknown format")
)

var errEnvelope = fmt.Errorf("envelope: %w", ErrChecksum)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Field numbers and types of Envelope, written by hand: sealing is on the path of every write, and
// the payload need not be copied.
const (
	envelopeFormat  = 1
	envelopeCRC32C  = 2
	envelopePayload = 3
	// maxEnvelope is the most that an envelope adds to its payload.
	maxEnvelope = 1 + 5 + 1 + 4 + 1 + binary.MaxVarintLen64
)

// Message is any message of this package, with the methods that are generated for speed.
type Message interface {
	proto.Message
	Value
	Reset()
	UnmarshalVT([]byte) error
}

// Seal returns v as the bytes of an Envelope.
func Seal(v Value) ([]byte, error) { return SealAfter(nil, nil, v) }

// SealAfter appends to b the Envelope of a payload with m behind it. As protobuf has it, that is a message
// in which m's repeated fields go on where the payload's end.
func SealAfter(b, before []byte, m Value) ([]byte, error) {
	size := m.SizeVT()
	b = slices.Grow(b, len(before)+size+maxEnvelope)
	b = protowire.AppendTag(b, envelopeFormat, protowire.VarintType)
	b = protowire.AppendVarint(b, Format)
	b = protowire.AppendTag(b, envelopeCRC32C, protowire.Fixed32Type)
	crc := len(b)
	b = protowire.AppendFixed32(b, 0)
	b = protowire.AppendTag(b, envelopePayload, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(before)+size))
	payload := len(b)
	b = append(b, before...)
	after := len(b)
	b = b[:after+size]
	if _, err := m.MarshalToSizedBufferVT(b[after:]); err != nil {
		return nil, fmt.Errorf("seal %T: %w", m, err)
	}
	binary.LittleEndian.PutUint32(b[crc:], checksum(Format, b[payload:]))
	return b, nil
}

// checksum covers the format too: a flipped bit in it is damage, not a newer writer.
func checksum(format uint64, payload []byte) uint32 {
	sum := crc32.Checksum(payload, castagnoli)
	if format == Format {
		return crc32.Update(sum, castagnoli, formatBytes) // it would be allocated otherwise
	}
	return crc32.Update(sum, castagnoli, binary.LittleEndian.AppendUint64(nil, format))
}

var formatBytes = binary.LittleEndian.AppendUint64(nil, Format)

// Payload checks sealed bytes and returns what is inside, sharing their memory. The error wraps
// ErrChecksum or ErrFormat.
func Payload(sealed []byte) ([]byte, error) {
	// What seal writes and nothing else: what is not under the checksum must not be able to say anything.
	format, b, ok := cutVarint(sealed, envelopeFormat)
	if !ok || len(b) < 5 || b[0] != envelopeCRC32C<<3|byte(protowire.Fixed32Type) {
		return nil, errEnvelope
	}
	sum := binary.LittleEndian.Uint32(b[1:])
	payload, rest, ok := cutBytes(b[5:], envelopePayload)
	// Every format keeps these three fields and this checksum.
	if !ok || len(rest) > 0 || checksum(format, payload) != sum {
		return nil, errEnvelope
	}
	if format == 0 || format > Format {
		return nil, fmt.Errorf("envelope: %w %d, this binary reads up to %d", ErrFormat, format, Format)
	}
	return payload, nil
}

// Open checks sealed bytes and decodes them into m. The error wraps ErrChecksum or ErrFormat, or
// is protobuf's own.
func Open(sealed []byte, m Message) error {
	payload, err := Payload(sealed)
	if err != nil {
		return err
	}
	m.Reset()
	if err := m.UnmarshalVT(payload); err != nil {
		return fmt.Errorf("open %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}
