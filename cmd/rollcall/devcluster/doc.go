// Package devcluster runs the nodes of "rollcall dev": where they listen, the directory of their data, and
// one supervised child process for each.
//
// What is printed about them does not belong here: that is in dev.go of the command.
package devcluster
