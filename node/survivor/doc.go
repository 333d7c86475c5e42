// Package survivor reads what is left of a node: the data directory of one that is stopped, damaged or not. It says
// what the directory holds, what of it is known to be committed, and what is missing, and it makes a registry file of
// it. Nothing in the directory is changed.
//
// It is for a cluster whose quorum is lost for good. Then nobody can tell the entries of a log that were committed
// from those that were only proposed, except by what the log itself says: see committed.go and decision 53.
//
//	survivor.go   Read: all that is known of a directory
//	base.go       what the log is folded onto: the registry file, a snapshot, or nothing
//	chain.go      which entries of the log continue a base, and which of them are known to be committed
//	replay.go     folds the entries onto a base
//	save.go       makes a registry file, or a backup, of what was read
//	choose.go     which of several survivors has most
//
// Making a new cluster of a survivor belongs to package node (recover.go) and to store.
package survivor
