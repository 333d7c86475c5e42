// Package deadline divides the time that a caller gives to a call: how much of it the work may take, so
// that the answer still reaches the caller. It also says how much more time a large change has.
//
// Waiting, retrying and what is said in the answer do not belong here.
package deadline
