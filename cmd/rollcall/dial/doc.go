// Package dial waits for one plain gRPC connection and says in a few words why there is none. It is for
// commands that talk to one node by plain gRPC. What fails over between nodes is package client.
package dial
