// Package rpcstats counts the calls of a gRPC server by method and code, at less cost than an interceptor.
package rpcstats
