// Package history reads what happened in the registry: its events, in order, and what it held at a point
// in time.
//
// The newest events are in a ring in memory (ring.go), all retained ones in the registry file, which is
// seen here through RegistryFile and is behind the fold. Readings of the file are throttled while the registry
// changes (throttle.go), so that writes do not become slower, however many clients read. What is read: pages of
// events for followers (page.go), events that match a query (events.go), and services as of a revision or
// a time (asof.go). Waiting for new events belongs to fsm/follow, how events are stored to store.
package history
