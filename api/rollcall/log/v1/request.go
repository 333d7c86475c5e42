package logv1

import "encoding/binary"

// Key is the record's among all: keys sort by the place of the write in the log, so that the oldest
// is the first.
func (x *RequestRecord) Key() string { return RequestKey(x.GetIndex(), x.GetPosition()) }

// RequestKey is the key of the write that is the command at position in the log entry at index.
func RequestKey(index uint64, position uint32) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 12), index)
	return string(binary.BigEndian.AppendUint32(b, position))
}
