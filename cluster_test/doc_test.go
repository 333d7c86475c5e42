// Package cluster_test holds the tests of whole clusters.
//
//   - TestVirtual…: three real nodes on real bbolt files in one process, on a virtual clock
//     (testing/synctest), over an in-memory network that can be cut.
//   - TestProcess…: the built binary on loopback ports, with SIGKILL, SIGSTOP, cut links and broken
//     disks.
//
// A test of a promise of README.md carries the promise's name. README.md in this folder lists the
// bugs that these tests found.
package cluster_test
