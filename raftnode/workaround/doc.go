// Package workaround holds everything that rests on how hashicorp/raft v1.7.3 is built inside, or that
// mends an error in it. Each piece stands in one place and has a test that fails when an upgrade of raft
// breaks it.
//
// Pieces that only use raft's public API as documented do not belong here.
package workaround
