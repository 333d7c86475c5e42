// Package leases holds which reports are attached to a lease, in the order in which they were made. It follows
// from the records of the services: it is neither stored nor hashed, a start makes it anew, and a scrub compares.
// What a lease means, and when it ends, is package fsm's and the leader's.
package leases
