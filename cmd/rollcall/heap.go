package main

import "os"

const reservedHeapBytes = 32 << 20

// reserveHeap returns what makes the garbage collector rarer in a node that holds little, while it is
// kept; nil where the operator has told Go how to collect. Go begins when the heap has doubled, but not
// below 4 MiB: a node under load with a few services would collect its garbage dozens of times a second,
// a quarter of what a Check costs (docs/benchmarks-notes.md). As the heap seems larger by this much, that
// is at 64 MiB and more. It is never written to, so no memory is behind it; the price is up to as much
// garbage between two collections.
func reserveHeap() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, reservedHeapBytes)
}
