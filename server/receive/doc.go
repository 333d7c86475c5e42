// Package receive receives the requests of clients and bounds the memory that requests hold which are not
// complete. A client can begin thousands of calls on a connection and send all of each request but its last
// byte. gRPC bounds such requests by their number alone. It would also inflate as many compressed requests at
// a time as there are calls.
//
// registrar.go puts this package between gRPC and the handlers. request.go reads one request. limits.go counts
// bytes, by connection and for the node, and cuts off. transport.go holds what that needs of gRPC's insides.
//
// What a request may hold does not belong here (package server), nor the memory of a complete one (package
// budget).
package receive
