// Package node is one whole member of a cluster. It opens the rooms in order (node.go, open.go), gives each
// what it needs of the others (wire.go, agreement.go, folded.go, status.go), and closes them in order. The
// binary and the tests of whole clusters both use it.
//
// What a member does by itself stands here or in a package beneath: announcing itself (announce.go), raising
// the cluster's feature level (featurelevel), compacting the history (retention), auditing its registry
// (audit), and telling operators of leaders, disks and metrics (leaderlog.go, observe.go). So does what is
// done to the data of a stopped node (inspect.go, restore.go). What a room does stands in that room.
package node
