// Package renewal renews the leases of one client, over one stream for each endpoint that it needs.
//
// A [Renewer] has one goroutine while it has leases, and one more pair for each open stream, however many leases
// there are. It renews a lease after a third of its TTL, with jitter. When an endpoint has said nothing for a sixth
// of the TTL, the next endpoint is asked, so that of three each has its turn before the TTL has passed; a late
// answer of the first one counts all the same. Endpoints are tried in an order that is random for each Renewer.
// When nobody answers, it goes on trying, with pauses.
//
// A lease lives for its whole TTL from when the message was sent that renewed it. That is the only promise, so
// it is what [Renewal.Until] counts from. When the TTL has passed since, the lease is overdue: it may be lost, or
// it may live, because the cluster counts more generously. Only the cluster says that it is lost.
//
// Time is monotonic, and counts the time too in which the machine was suspended (see clock).
//
// What belongs here: when and where to renew. What does not: connections (package client opens the streams), and
// what to do when a lease is lost.
package renewal
