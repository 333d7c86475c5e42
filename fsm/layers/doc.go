// Package layers says what is shown of a service: which override decides over what is reported of it, and since
// when what is shown is as it is.
//
// It holds the index of the overrides as a value that never changes (layers.go, index.go): a change makes
// another one, which shares most of its memory with the one before. So the fold, views, Check and readings of
// the past use it without a lock. Which overrides there are is decided by package fsm; what a pattern covers,
// and which of two decides, is in api/rollcall/pattern.
package layers
