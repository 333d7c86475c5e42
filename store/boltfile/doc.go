// Package boltfile opens bbolt files that may be damaged. bbolt trusts its file: on a damaged one it panics
// or touches memory behind the end of the mapped file, which would end the process without a word. Guard
// makes an error of both. Here are also the checks of a bucket that need no knowledge of its content, and
// the advice to the system about memory. What the files hold belongs to store/raftlog and store/registry.
package boltfile
