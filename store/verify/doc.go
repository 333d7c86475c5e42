// Package verify reads all of a stopped node's data directory and says what is wrong with it: identity,
// registry file, registry, events, whether the events fold to the services, raft log, snapshots. It changes
// nothing. What is compared inside the registry file is in store/registry (verify_events.go).
//
// It is the work of "rollcall verify --data". Comparing members with each other does not belong here: package
// server does it when somebody asks ("rollcall verify"), package node/audit when there is a reason to.
package verify
