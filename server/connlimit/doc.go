// Package connlimit limits the connections that a listener has open, because each takes one of the file
// descriptors that the node's own files need too.
package connlimit
