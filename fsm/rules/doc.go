// Package rules counts how many services of each rule's pattern are SERVING, and says which rules a change would
// break.
//
// A Book holds the rules and the counts. It is counted once, when a rule is set or a node starts; from then on
// each change of a service adds to the counts of the patterns that cover the service (count.go), and each change
// of an override computes what the counts become from the counts and the other overrides, without looking at the
// services again (override.go). Which rules there are, and what a command changes, is decided by package fsm.
package rules
