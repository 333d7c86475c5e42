// Package lossyfs is a disk for tests that loses what was not flushed, as a machine does that loses power.
// A Disk is in memory; Mount makes it a FUSE file system, so that whole processes run on it. It is strict:
// what was written to a file is durable only after an fsync of the file, and a name (created, renamed or
// removed) only after an fsync of its directory, at every level.
//
// Disks hang on a Power. Cut takes the power from all of them at one instant: from then on no call on
// them returns, so that nothing is acknowledged by a disk that is gone. Whoever uses them is then killed,
// Release lets the calls fail, and After returns what is left of a Disk.
//
// A process must not mount a disk and map its files: the fault of one goroutine would wait for another
// one that the garbage collector may have stopped. Tests run what uses the disk in a process of its own.
//
// Nothing but tests may import this package.
package lossyfs
