// Command rollcall is the binary of Rollcall: a node, a cluster to try things on, and the command line that
// reads and changes a registry.
//
// One file holds one command: its flags, its help, and what it prints. root.go has what all commands share,
// failure.go turns errors into one line and an exit status, usage.go those of the command line. The packages beneath hold what commands are made
// of: the load generator of "bench" (loadgen), the processes of "dev" (devcluster), flag values (cliflag),
// output (format), errors in plain words (plain), why a service has its status, in words (explain), one plain
// connection (dial), and the heap ballast of "serve" (ballast).
//
// What a node does does not belong here, nor how a call finds a node that answers: see packages node and
// client.
package main
