// Package node is one whole member of a cluster. It opens the packages below (store, fsm, raftnode, server)
// in order, gives each what it needs of the others (wire.go, agreement.go, folded.go, status.go), and closes
// them in order. The binary and the tests of whole clusters both use it.
//
// # The order of a start
//
// Open (open.go) does this, and undoes it when a step fails:
//
//  1. Listen for the API and for HTTP, so that a port in use is said before anything is created.
//  2. Open and lock the data directory, then raft's log, then the snapshots.
//  3. Open the registry file, or rebuild it from the newest snapshot (store.OpenRegistry).
//  4. Load the registry file into the fold's state (fsm.New) and check its state hash.
//  5. Open raft (raftnode.Open). Forming or joining a cluster goes on in the background.
//  6. Serve. Local reads are answered from here on, with or without a quorum.
//
// # What belongs here
//
// What a member does by itself stands here or in a package beneath: announcing itself (announce.go), raising
// the cluster's feature level (featurelevel), compacting the history (retention), auditing its registry
// (audit), and telling operators of leaders, disks and metrics (leaderlog.go, observe.go). So does what is
// done to the data of a stopped node (inspect.go, restore.go). What a package below does stands in that package.
package node
