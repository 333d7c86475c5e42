// Package authz says what a caller may read, and ends the streams of callers who may not any more.
//
// What belongs here: from a caller (package authn) and what it was granted (package fsm/access) to a Reader, which every
// read asks; what of an event a reader is shown; and the re-checks of open streams. Writes are authorized by the fold,
// in the order of the log.
//
// A reader is told nothing of services that it may not read, nor how many there are. Revisions count the changes of the
// whole registry, and everybody sees them.
package authz
