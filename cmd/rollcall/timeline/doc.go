// Package timeline makes the timeline of one service from its events: which report or override decided over it,
// from when until when.
//
// It computes from messages that the command "history" has read, and writes nothing.
package timeline
