// Package audit proves that a member's registry is the same as the cluster's (P9). It checks the records in
// memory, in the registry file and in snapshots against the state hash that was kept of them (scrub.go).
// When something does not agree, here or in a log entry of another member, it asks all members what they
// held and stops this one from serving if a majority holds something else (auditor.go).
//
// How the state hash is computed and compared with each entry belongs to package fsm; what members say to
// each other of it, to package server.
package audit
