// Package watchdog finds a disk that makes no progress. A slow disk is not a failure: an operation may take
// as long as its bytes take on the slowest disk that is supported, and NoProgress more.
package watchdog
