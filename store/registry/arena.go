package registry

import "slices"

// byteArena is memory for what a transaction puts, which bbolt does not copy: it has to stay as it is until
// that has ended, and is then used again, up to keptChunks of it. What is larger than a chunk is not.
type byteArena struct {
	chunks [][]byte
	at     int // the chunk in use; those before it are full
}

const (
	arenaChunkBytes = 64 << 10
	keptChunks      = 64
)

// room returns the free end of a chunk, with length 0 and room for n bytes. Of what was appended to it
// take keeps.
func (s *byteArena) room(n int) []byte {
	for ; s.at < len(s.chunks); s.at++ {
		if c := s.chunks[s.at]; cap(c)-len(c) >= n {
			return c[len(c):]
		}
	}
	s.chunks = append(s.chunks, make([]byte, 0, max(n, arenaChunkBytes)))
	return s.chunks[s.at]
}

// take keeps what was appended to what room returned.
func (s *byteArena) take(b []byte) []byte {
	c := s.chunks[s.at]
	s.chunks[s.at] = c[:len(c)+len(b)]
	return b[:len(b):len(b)]
}

// reset makes all of it free.
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
