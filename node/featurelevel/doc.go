// Package featurelevel is a member's part in the cluster's feature level: it refuses commands that the
// level does not hold yet, says which members keep the level down, and has a leader raise the level once
// every member allows it.
//
// What a level means for entries and records belongs to package fsm, and what peers say to each other of
// their levels to package raftnode.
package featurelevel
