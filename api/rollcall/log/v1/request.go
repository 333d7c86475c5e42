package logv1

import "encoding/binary"

// requestKeyBytes is the length of a RequestKey.
const requestKeyBytes = 12

// RequestKey is the key of the write that is the command at position in the log entry at index. Keys sort
// by the place in the log, so that the oldest is the first.
func RequestKey(index uint64, position uint32) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, requestKeyBytes), index)
	return string(binary.BigEndian.AppendUint32(b, position))
}

// ParseRequestKey is the reverse of RequestKey.
func ParseRequestKey(key []byte) (index uint64, position uint32, ok bool) {
	if len(key) != requestKeyBytes {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(key), binary.BigEndian.Uint32(key[8:]), true
}
