package fsm

import (
	"encoding/binary"
	"hash/crc32"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// sealRaw makes a valid envelope of any payload and format.
func sealRaw(format uint32, payload []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(payload, table)
	sum = crc32.Update(sum, table, binary.LittleEndian.AppendUint64(nil, uint64(format)))
	return marshal(&logv1.Envelope{Format: format, Crc32C: sum, Payload: payload})
}
