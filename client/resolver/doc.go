// Package resolver lets a gRPC channel find the instances of a service in the registry, and the nodes of the
// registry itself.
package resolver
