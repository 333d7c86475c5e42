// Package verify reads all of a stopped node's data directory and says what is wrong with it: identity,
// registry file, registry, events, whether the events fold to the services, raft log, snapshots. It changes
// nothing. What is compared inside the registry file is in store/registry (verify_events.go). Comparing
// nodes with each other belongs to node (auditor).
package verify
