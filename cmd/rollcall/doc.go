// Command rollcall is the binary of Rollcall: a node, a cluster to try things on, and the command
// line that asks and changes a registry.
//
// Here live the parsing of arguments, the wiring of package node and package client, and what people
// and programs see on the terminal: one file a command. What a node does, or how a call finds the
// node that answers it, does not belong here.
package main
