package registry

import "slices"

// byteArena hands out memory for the values that a transaction puts. bbolt does not copy a value, so its
// memory must not change until the transaction has ended. After that the memory is used again, up to
// keptChunks of it. A value larger than a chunk has memory of its own, which is not used again.
type byteArena struct {
	chunks [][]byte
	at     int // the chunk in use; those before it are full
}

const (
	arenaChunkBytes = 64 << 10
	keptChunks      = 64
)

// room returns the free end of a chunk, with length 0 and a capacity of at least n bytes. Append to it and
// give the result to take.
func (s *byteArena) room(n int) []byte {
	for ; s.at < len(s.chunks); s.at++ {
		if c := s.chunks[s.at]; cap(c)-len(c) >= n {
			return c[len(c):]
		}
	}
	s.chunks = append(s.chunks, make([]byte, 0, max(n, arenaChunkBytes)))
	return s.chunks[s.at]
}

// take marks b, which was appended to what room returned, as used.
func (s *byteArena) take(b []byte) []byte {
	c := s.chunks[s.at]
	s.chunks[s.at] = c[:len(c)+len(b)]
	return b[:len(b):len(b)]
}

// reset makes all memory free again.
func (s *byteArena) reset() {
	s.chunks = slices.DeleteFunc(s.chunks, func(c []byte) bool { return cap(c) > arenaChunkBytes })
	if len(s.chunks) > keptChunks {
		clear(s.chunks[keptChunks:])
		s.chunks = s.chunks[:keptChunks]
	}
	for i, c := range s.chunks {
		s.chunks[i] = c[:0]
	}
	s.at = 0
}
