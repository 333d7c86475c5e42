// Package credential holds the token that the calls of one client carry.
//
// A [Source] has it from a file or from a function of the caller's. The file is read again while the client is in use:
// once in a second at most, and at once when a node has refused the token. So a token is exchanged by writing another
// one into the file, without a restart. A file that has become unusable changes nothing: the token that was read before
// stays, and [Source.Problem] says what is wrong with the file.
//
// Each token that a Source holds has a generation. What outlives a call, a stream for example, compares it to learn
// that it was opened with another token.
//
// What belongs here: which token a call carries. What does not: whether a connection may carry it, and what an answer
// means (package client).
package credential
