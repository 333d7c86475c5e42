// Package disktest opens all of a data directory for tests: raft's log, the snapshots and the registry file.
package disktest
