// Package httpserver is the HTTP port of a node: how many connections it has, and for how long. What it
// answers is given to it.
package httpserver
